// What is followed: the host's event streams, the address bar, the keyboard. view.js draws.

import { Detail, Row, make, part, put } from './view.js';
import { duration, time, zone } from './words.js';

// Milliseconds. The host says something every two seconds.
const SILENCE_MAX = 7000;
const RETRY = 3000;

const rows = new Map();
const detail = new Detail();
const shows = [
  { id: 'all', label: 'All', takes: () => true },
  { id: 'attention', label: 'To look at', takes: (state) => state.attention },
  { id: 'leading', label: 'Leading', takes: (state) => ['leading', 'failing'].includes(state.kind) },
  { id: 'standby', label: 'Standby', takes: (state) => state.kind === 'standby' },
];
let shown = shows[0];
let opened = null;
// The host's clock less this one's.
let offset = 0;
let heardAt = 0;
let isLive = false;

const now = () => Date.now() + offset;

// One event stream, taken up again whenever it breaks.
class Stream {
  constructor(url, handlers, begins) {
    Object.assign(this, { url, handlers, begins });
    this.connect();
  }

  connect() {
    const source = new EventSource(this.url);
    this.source = source;
    source.addEventListener('open', () => this.begins());
    for (const [name, handle] of Object.entries(this.handlers)) {
      source.addEventListener(name, (event) => {
        const data = JSON.parse(event.data);
        offset = Date.parse(data.time) - Date.now();
        heardAt = Date.now();
        live();
        handle(data);
      });
    }
    source.addEventListener('error', () => {
      // While it is connecting, the browser tries again by itself.
      const refused = source.readyState === EventSource.CLOSED;
      stale('The connection to the host is lost');
      if (refused) this.askWhy();
    });
  }

  // An EventSource does not tell what the host has said when it refused.
  async askWhy() {
    this.timer = setTimeout(() => this.connect(), RETRY);
    const asking = new AbortController();
    try {
      const answer = await fetch(this.url, { signal: asking.signal });
      if (!answer.ok) stale((await answer.text()).slice(0, 300).trim());
    } catch {
      // It is not there, as is said already.
    }
    asking.abort();
  }

  close() {
    clearTimeout(this.timer);
    this.source.close();
  }
}

let listStream = null;
let taskStream = null;

function followAll() {
  listStream = new Stream('tasks/events', { host: greeted, tasks: changed }, () => {});
}

function followOne() {
  taskStream?.close();
  taskStream = null;
  if (opened === null || !rows.has(opened)) return;
  const name = opened;
  let isFirst = true;
  taskStream = new Stream(`tasks/${encodeURIComponent(name)}/events`, {
    task: (event) => {
      // A host that was started again counts its lines anew.
      if (isFirst) detail.forgetOutput();
      isFirst = false;
      detail.show(event, now());
    },
  }, () => { isFirst = true; });
}

function greeted({ tasks }) {
  const there = new Set(tasks);
  for (const [name, row] of rows) {
    if (!there.has(name)) {
      row.item.remove();
      rows.delete(name);
    }
  }
  for (const name of tasks) if (!rows.has(name)) rows.set(name, new Row(name));
  arrange(true);
  route();
}

function changed({ tasks }) {
  for (const task of tasks) {
    const row = rows.get(task.name);
    if (!row) continue;
    const before = row.state?.label;
    row.show(task, now());
    if (task.identity) put(part('replica'), task.identity);
    if (task.name === opened) tellState(row, before !== undefined && before !== row.state.label);
  }
  if (tasks.length) {
    count();
    arrange(false);
    if (opened === null) route();
  }
}

// Of the task that is open.
function tellState({ task, state }, isAnother) {
  detail.state(state);
  if (isAnother) put(part('said'), `${task.name}: ${state.label}. ${state.words}`);
}

function count() {
  const states = [...rows.values()].flatMap((row) => row.state ?? []);
  for (const show of shows) put(show.count, String(states.filter(show.takes).length));
  const look = states.filter((state) => state.attention).length;
  document.title = look ? `(${look}) Leasehold` : 'Leasehold';
}

// Those to look at first, then by name. Never under somebody's hands.
function arrange(atOnce) {
  const list = part('list');
  const filter = part('filter').value.trim().toLowerCase();
  let some = false;
  for (const row of rows.values()) {
    row.item.hidden = !(row.isLike(filter) && (!row.state || shown.takes(row.state)));
    some ||= !row.item.hidden;
  }
  part('none').hidden = some || rows.size === 0;
  if (!atOnce && list.matches(':hover, :focus-within')) return;
  const rank = (row) => (row.state?.attention ? 0 : 1);
  const order = [...rows].sort(([a, x], [b, y]) => rank(x) - rank(y) || a.localeCompare(b)).map(([, row]) => row.item);
  if (order.some((item, index) => list.children[index] !== item)) list.replaceChildren(...order);
  entry();
}

// One stop of the Tab key for the whole list.
function entry() {
  const there = seen();
  const isThere = (row) => there.includes(row);
  const focused = there.find((row) => row.link === document.activeElement);
  const first = focused ?? [rows.get(opened), rows.get(lastOpened)].find(isThere) ?? there[0];
  for (const row of rows.values()) row.link.tabIndex = row === first ? 0 : -1;
}

const seen = () => [...part('list').children].filter((item) => !item.hidden).map((item) => byItem(item));
const byItem = (item) => rows.get(decodeURIComponent(item.firstChild.hash.slice(2)));

function move(event) {
  const order = seen();
  const at = order.findIndex((row) => row.link === document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: order.length - 1, PageDown: at + 10, PageUp: at - 10 }[event.key];
  if (to === undefined || at < 0) return;
  event.preventDefault();
  const next = order[Math.min(Math.max(to, 0), order.length - 1)];
  for (const row of rows.values()) row.link.tabIndex = row === next ? 0 : -1;
  next.link.focus();
}

// The address says which task is open. Where it says none and there is room for both, the first of the list is.
function route(isByHand) {
  const asked = location.hash.startsWith('#/') ? decodeURIComponent(location.hash.slice(2)) : '';
  const isWide = matchMedia('(min-width: 56rem)').matches;
  const isReady = [...rows.values()].every((row) => row.state);
  const first = isWide && isReady ? seen()[0]?.task.name : undefined;
  const name = rows.has(asked) ? asked : asked === '' ? first : undefined;
  document.body.classList.toggle('one', rows.has(asked));
  for (const row of rows.values()) {
    if (row.task?.name === name) row.link.setAttribute('aria-current', 'true');
    else row.link.removeAttribute('aria-current');
  }
  if ((name ?? null) === opened) return;
  opened = name ?? null;
  if (opened === null) detail.close();
  else detail.open(opened);
  if (opened !== null && rows.get(opened).state) detail.state(rows.get(opened).state);
  followOne();
  entry();
  if (isByHand && rows.has(asked)) part('task-title').focus();
  if (isByHand && asked === '') rows.get(lastOpened)?.link.focus();
  lastOpened = opened ?? lastOpened;
}
let lastOpened = null;

function live() {
  if (isLive) return;
  isLive = true;
  connection('live', 'Live');
}

function stale(why) {
  if (document.hidden) return;
  isLive = false;
  const since = heardAt ? `; what is shown is of ${time(heardAt + offset, now())}` : '';
  connection('stale', `${why}${since}`);
}

function connection(state, words) {
  part('connection').dataset.state = state;
  document.body.dataset.connection = state;
  put(part('connection-words'), words);
  if (state !== 'live' || part('said').textContent) put(part('said'), words);
}

function tick() {
  if (document.hidden) return;
  const at = now();
  put(part('zone'), zone(at));
  for (const row of rows.values()) row.tick(at);
  if (isLive) {
    // What is shown of a host that is not heard of is of when it was.
    const others = [...rows.values()].filter((row) => row.judge(at));
    for (const row of others) if (row.task.name === opened) tellState(row, true);
    if (others.length) {
      count();
      arrange(false);
    }
    detail.tick(at);
  }
  const silent = Date.now() - heardAt;
  if (isLive && silent > SILENCE_MAX) stale(`The host has said nothing for ${duration(silent / 1000)}`);
}

for (const show of shows) {
  show.count = make('span', 'count', '0');
  const button = make('button', '', show.label, ' ', show.count);
  button.type = 'button';
  button.setAttribute('aria-pressed', String(show === shown));
  button.addEventListener('click', () => {
    shown = show;
    for (const each of part('shows').children) each.setAttribute('aria-pressed', String(each === button));
    arrange(true);
  });
  part('shows').append(button);
}
part('filter').addEventListener('input', () => arrange(true));
part('list').addEventListener('keydown', move);
part('list').addEventListener('pointerleave', () => arrange(false));
part('list').addEventListener('focusout', () => setTimeout(() => arrange(false)));
addEventListener('hashchange', () => route(true));
matchMedia('(min-width: 56rem)').addEventListener('change', () => route());
// A page that nobody sees leaves its streams to others.
document.addEventListener('visibilitychange', () => {
  listStream?.close();
  taskStream?.close();
  if (document.hidden) return;
  followAll();
  followOne();
});
tick();
setInterval(tick, 1000);
if (!document.hidden) followAll();
