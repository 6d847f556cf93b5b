// What the page says of a task, without the page: text in, text out.

const STEPS = [[86400, 'd'], [3600, 'h'], [60, 'min'], [1, 's']];

// "2 h 14 min", of seconds; two units at most.
export function duration(seconds) {
  if (!(seconds >= 1)) return seconds > 0 ? `${Math.max(1, Math.round(seconds * 1000))} ms` : '0 s';
  const first = STEPS.findIndex(([size]) => seconds >= size);
  const [size, unit] = STEPS[first];
  const whole = Math.floor(seconds / size);
  const next = STEPS[first + 1];
  const rest = next && whole < 100 ? Math.floor((seconds - whole * size) / next[0]) : 0;
  return rest ? `${whole} ${unit} ${rest} ${next[1]}` : `${whole} ${unit}`;
}

export function between(from, until) {
  return (Date.parse(until) - Date.parse(from)) / 1000;
}

const CLOCK = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const DAY = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' });

const OFFSET = new Intl.DateTimeFormat('en-GB', { timeZoneName: 'longOffset' });

// All times are in the browser's zone; hosts tell and log them in UTC.
export function timeOfDay(at) {
  return CLOCK.format(new Date(at));
}

// With the day where it is another one than today.
export function time(at, now) {
  const when = new Date(at);
  return when.toDateString() === new Date(now).toDateString() ? timeOfDay(at) : DAY.format(when);
}

// "Asia/Kolkata, UTC+05:30": which zone that is, and what it is at this time of the year.
export function zone(now) {
  const { timeZone } = OFFSET.resolvedOptions();
  const offset = OFFSET.formatToParts(new Date(now)).find(({ type }) => type === 'timeZoneName').value;
  return timeZone === 'UTC' ? timeZone : `${timeZone}, ${offset.replace('GMT', 'UTC')}`;
}

export function shortDigest(digest) {
  const hex = digest.replace(/^sha256:/, '');
  return hex.slice(0, 12);
}

// Terminal sequences go: CSI, OSC (titles, links), and the two-character ones.
const SEQUENCES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[ -/]*[0-~])/g;
// What else has no shape of its own, or would turn text around, is shown as what it is.
const SHAPELESS = /[\u0000-\u0008\u000a-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/g;

export function plain(text) {
  return text.replace(SEQUENCES, '').replace(SHAPELESS, (character) => {
    const code = character.charCodeAt(0);
    if (code < 0x20) return String.fromCharCode(0x2400 + code);
    return code === 0x7f ? '\u2421' : `\u27e8U+${code.toString(16).toUpperCase().padStart(4, '0')}\u27e9`;
  });
}

const FAILED = {
  error: 'has returned an error',
  trap: 'has trapped',
  'out-of-memory': 'has run out of memory',
  unresponsive: 'reported no progress in time',
  'not-started': 'could not be started',
};
// So long a failed run is worth a look, in seconds, where another runs by now.
const FAILURE_IS_NEWS = 300;

// Of a task's summary: `kind` is for the eyes, `label` the same in a word or two, `words` a sentence, and `attention` whether
// somebody should look.
export function stateOf(task, now) {
  const failed = task.lastRun && FAILED[task.lastRun.outcome];
  const ago = failed ? (now - Date.parse(task.lastRun.until)) / 1000 : 0;
  const failure = failed && `The component ${failed}${task.lastRun.detail ? `: ${task.lastRun.detail}` : ''}`;
  const { refused } = task;
  const beside = task.note ?? (refused && `and does not run ${refused.digest ? shortDigest(refused.digest) : 'a module'}: ${refused.why}`);
  if (task.waitsFor) return state('waiting', 'Waiting', `It is not ready: ${task.waitsFor}`, true);
  if (task.role === 'other-task') {
    return state('off', 'Not competing', 'The Lease is marked as another task’s: give this one its own, or --adopt.', true);
  }
  if (task.role === 'starting') return state('waiting', 'Starting', 'It does not compete yet.', false);
  if (task.role === 'leading') {
    if (failed && (!task.running || ago < FAILURE_IS_NEWS)) return state('failing', 'Failing', failure, true);
    if (task.stopRequested) return state('leading', 'Stopping', `The component is asked to stop: ${task.stopRequested}.`, false);
    if (task.stepDownRequested) return state('leading', 'Stepping down', 'This replica is asked to give the Lease up.', false);
    if (!task.running) return state('leading', 'Leading, idle', 'This replica leads. No component runs.', false);
    if (beside) return state('leading', 'Leading', `This replica leads, ${beside}`, true);
    return state('leading', 'Leading', 'This replica leads, and the component runs.', false);
  }
  if (task.holderUnsure) return state('nobody', 'Out of touch', `The Lease is not heard of: ${task.holderUnsure}`, true);
  if (!task.holder) return state('nobody', 'Nobody leads', 'No replica holds the Lease that this one knows of.', true);
  if (beside) return state('standby', 'Standing by', `Another replica leads; this one is ready, ${beside}`, true);
  return state('standby', 'Standing by', 'Another replica leads, and this one is ready.', false);
}

function state(kind, label, words, attention) {
  return { kind, label, words: plain(words), attention };
}
