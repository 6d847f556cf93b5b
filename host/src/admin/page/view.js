// The page's elements. All that comes from the host is set as text, and as nothing else.

import { between, duration, plain, shortDigest, stateOf, time, timeOfDay } from './words.js';

const LINES_MAX = 500;
// Of a bar in the timeline, in percent of its width.
const BAR_MIN = 0.6;
const LABEL = 'Leader’s label';

export const part = (id) => document.getElementById(id);

export function make(tag, name, ...inside) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.append(...inside);
  return element;
}

// Only where it is another: what is selected or read aloud stays as it is.
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function cell(text, name, full) {
  const made = make('td', name, text);
  if (full) made.title = full;
  return made;
}

const drawn = new Map();

// Draws a table anew where what it shows has changed.
function table(id, caption, heads, rows, key) {
  const what = JSON.stringify(key);
  if (drawn.get(id) === what) return;
  drawn.set(id, what);
  const row = make('tr', '', ...heads.map((head) => Object.assign(make('th', '', head), { scope: 'col' })));
  // On a phone each cell says by itself what it is.
  for (const { cells } of rows) [...cells].forEach((cell, index) => { cell.dataset.head = heads[index]; });
  const none = () => [make('tr', '', Object.assign(cell('None yet.', 'none'), { colSpan: heads.length }))];
  part(id).replaceChildren(
    make('caption', 'unseen', caption),
    make('thead', '', row),
    make('tbody', '', ...(rows.length ? rows : none())),
  );
}

export class Row {
  constructor(name) {
    this.name = make('span', 'name', name);
    this.label = make('span', 'label');
    this.words = make('span', 'words');
    this.age = make('span', 'age');
    const mark = make('span', 'mark');
    mark.setAttribute('aria-hidden', 'true');
    this.link = make('a', '', mark, this.name, this.label, this.words, this.age);
    this.link.href = `#/${encodeURIComponent(name)}`;
    this.link.tabIndex = -1;
    this.item = make('li', '', this.link);
    this.task = null;
    this.state = null;
  }

  show(task, now) {
    this.task = task;
    this.judge(now);
    this.tick(now);
  }

  // Whether it is in another state than before: in time a failure is no news any more, and no host tells of that.
  judge(now) {
    const { task, state: before } = this;
    if (!task) return false;
    this.state = stateOf(task, now);
    const { kind, label, attention, words } = this.state;
    if (this.item.dataset.kind !== kind) this.item.dataset.kind = kind;
    if ((this.item.dataset.attention === 'true') !== attention) this.item.dataset.attention = String(attention);
    put(this.label, label);
    const calm = task.role === 'leading' ? task.progress || task.lease : task.holder || task.lease;
    put(this.words, attention ? words : plain(calm));
    return before?.label !== label || before.attention !== attention;
  }

  tick(now) {
    const since = this.task?.holderSince;
    put(this.age, since ? duration((now - Date.parse(since)) / 1000).split(' ').slice(0, 2).join(' ') : '');
  }

  isLike(filter) {
    const { name, lease, holder } = this.task ?? { name: this.name.textContent };
    return [name, lease, holder].some((text) => text?.toLowerCase().includes(filter));
  }
}

class Facts {
  constructor(names) {
    const fact = (name) => [name, make('dd', '', '–')];
    this.values = new Map(names.map(fact));
    part('facts').replaceChildren(...[...this.values].map(([name, value]) => make('div', '', make('dt', '', name), value)));
  }

  // For one that most tasks have not.
  only(name, isThere) {
    this.values.get(name).parentElement.hidden = !isThere;
  }

  show(name, text, style, full = text) {
    const value = this.values.get(name);
    put(value, text || '–');
    value.title = full || '';
    if (style) value.className = style;
  }
}

export class Detail {
  constructor() {
    this.facts = new Facts([
      'Leader', 'Since', 'Token', 'Certain for', 'Progress', 'Module', 'Lease', 'Checkpoint', LABEL,
    ]);
    this.event = null;
    this.heard = 0;
  }

  open(name) {
    this.event = null;
    drawn.clear();
    put(part('task-title'), name);
    part('empty').hidden = true;
    part('open').hidden = false;
    for (const table of ['terms', 'modules', 'runs']) part(table).replaceChildren();
    for (const element of ['timeline', 'output']) part(element).replaceChildren();
    for (const name of this.facts.values.keys()) this.facts.show(name, '');
    this.facts.only(LABEL, false);
    this.state({ kind: 'waiting', label: '', words: '' });
  }

  close() {
    this.event = null;
    part('empty').hidden = false;
    part('open').hidden = true;
  }

  state({ kind, label, words }) {
    part('task-state').dataset.kind = kind;
    put(part('task-state-words'), label);
    put(part('sentence'), words);
    part('sentence').title = words;
  }

  show(event, now) {
    this.event = event;
    this.heard = now;
    const { task } = event;
    this.facts.show('Lease', `${task.namespace ? `${task.namespace}/` : ''}${task.lease}`);
    this.facts.show('Leader', task.role === 'leading' ? 'this replica' : task.holder && plain(task.holder));
    this.facts.show('Token', String(task.term?.token ?? present(task)?.token ?? ''));
    const digest = task.module.running ?? task.module.ready;
    this.facts.show('Module', digest && shortDigest(digest), 'digest', digest);
    const bytes = task.checkpointBytes;
    this.facts.show('Checkpoint', bytes === null ? 'none' : bytes === 1 ? '1 byte' : `${bytes} bytes`);
    // Null where none is asked for.
    const { leaderLabel } = task;
    this.facts.only(LABEL, leaderLabel !== null);
    this.facts.show(LABEL, leaderLabel ? 'on this Pod' : 'not on this Pod');
    this.tables(task, now);
    this.tick(now);
    this.output(event.output);
  }

  // What changes by the mere passing of time.
  tick(now) {
    if (!this.event) return;
    const { task } = this.event;
    const since = present(task)?.since;
    this.facts.show('Since', since && `${time(since, now)} (${duration((now - Date.parse(since)) / 1000)})`);
    const certain = task.certainForSeconds;
    const left = certain === null ? null : Math.max(0, certain - (now - this.heard) / 1000);
    this.facts.show('Certain for', left === null ? 'it does not lead' : `another ${left.toFixed(1)} s`);
    const { progress } = task;
    this.facts.show('Progress', progress && `${plain(progress.message)} (${duration((now - Date.parse(progress.at)) / 1000)} ago)`);
    this.timeline(task, now);
  }

  timeline(task, now) {
    const held = task.holders.map((term) => [
      Date.parse(term.since), term.until ? Date.parse(term.until) : now, term.own ? 'own' : 'other', term.identity,
    ]);
    const known = Math.min(...held.map(([since]) => since), now);
    const from = Math.min(known, now - 10000);
    const scale = 100 / (now - from);
    // Who led before is not for this host to say.
    const bars = from < known ? [[from, known, 'unknown', 'This replica has seen nothing of it.'], ...held] : held;
    const line = part('timeline');
    while (line.children.length > bars.length) line.lastChild.remove();
    while (line.children.length < bars.length) line.append(make('span'));
    bars.forEach(([since, until, who, title], index) => {
      const bar = line.children[index];
      bar.className = who;
      bar.title = title;
      bar.style.left = `${Math.min((since - from) * scale, 100 - BAR_MIN).toFixed(2)}%`;
      bar.style.width = `${Math.max((until - since) * scale, BAR_MIN).toFixed(2)}%`;
    });
    put(part('axis-from'), `${duration((now - from) / 1000)} ago`);
  }

  tables(task, now) {
    const { holders, pastTerms, pastRuns, run, swaps, module } = task;
    const ends = new Map(pastTerms.map((term) => [term.token, term.why]));
    const ended = (term) => (term.until ? (term.own && ends.get(term.token)) || '–' : 'holds the Lease');
    const lasted = (since, until) => (since && until ? duration(between(since, until)) : '–');
    const term = (held) => make(
      'tr', held.own ? 'own' : '',
      cell(held.token === null ? '–' : String(held.token), 'number'),
      cell(held.own ? 'this replica' : plain(held.identity), 'identity', held.identity),
      cell(time(held.since, now), 'time'),
      cell(lasted(held.since, held.until), 'time'),
      cell(plain(ended(held)), 'why'),
    );
    table('terms', 'The last terms, the newest first', ['Token', 'Leader', 'Began', 'Lasted', 'Ended because'],
      [...holders].reverse().map(term), [holders, pastTerms]);

    const past = (ran) => make(
      'tr', '',
      cell(ran.since ? time(ran.since, now) : '–', 'time'),
      cell(lasted(ran.since, ran.until), 'time'),
      cell(ran.digest ? shortDigest(ran.digest) : '–', 'digest', ran.digest),
      cell(plain([ran.outcome ?? 'runs', ran.reason ?? ran.stopRequested, ran.detail].filter(Boolean).join(': ')), 'why'),
    );
    const runs = [...pastRuns, ...(run ? [run] : [])].reverse();
    table('runs', 'The last runs of the component, the newest first', ['Began', 'Lasted', 'Module', 'Outcome'], runs.map(past), runs);

    const of = (at, digest, words) => make(
      'tr', '', cell(at ? time(at, now) : 'now', 'time'), cell(digest ? shortDigest(digest) : '–', 'digest', digest), cell(plain(words), 'why'),
    );
    const states = [
      module.running && [null, module.running, 'runs'],
      module.ready && module.ready !== module.running && [null, module.ready, 'is ready, and would start next'],
      module.waiting && [null, module.waiting.digest, `waits: ${module.waiting.why}`],
      module.good && module.good !== module.running && [null, module.good, 'has come through its probation'],
      module.refused && [module.refused.at, module.refused.digest, `is not run: ${module.refused.why}`],
      module.rejected && [module.rejected.at, module.rejected.digest, `was not taken: ${module.rejected.why}`],
    ].filter(Boolean);
    const swapped = [...swaps].reverse().map((swap) => [swap.at, swap.to, `took over from ${shortDigest(swap.from)}, token ${swap.token}`]);
    const rows = [...states, ...swapped];
    table('modules', 'Modules as they are now, then the last swaps, the newest first', ['When', 'Module', 'What'], rows.map((row) => of(...row)), rows);
  }

  forgetOutput() {
    part('output').replaceChildren();
    this.number = 0;
  }

  output(lines) {
    const box = part('output');
    if (!lines) {
      const words = 'The host tells output on its own machine alone. Open the page through kubectl port-forward to see it.';
      if (!box.firstChild) box.append(make('p', 'gap', words));
      return;
    }
    const follows = box.scrollHeight - box.scrollTop - box.clientHeight < 24;
    const added = [];
    for (const line of lines) {
      const missing = line.number - (this.number ?? 0);
      if (missing > 0) added.push(make('p', 'gap', `${missing} older ${missing === 1 ? 'line is' : 'lines are'} in the log alone`));
      this.number = line.number + 1;
      const stamp = make('time', '', timeOfDay(line.at));
      stamp.dateTime = line.at;
      const where = line.stream === 'stdout' ? '' : line.stream === 'stderr' ? 'err' : line.stream;
      const text = make('bdi', '', plain(line.text) + (line.cut ? ' … (cut)' : ''));
      added.push(make('p', line.stream, stamp, make('span', 'stream', [line.export, where].filter(Boolean).join(' ')), text));
    }
    box.append(...added);
    while (box.children.length > LINES_MAX) box.firstChild.remove();
    if (follows && added.length) box.scrollTop = box.scrollHeight;
  }
}

function present(task) {
  const last = task.holders.at(-1);
  return last && !last.until ? last : null;
}
