// Hands events on from an outbox to a webhook, in order, each at least once and by one replica.
//
// The outbox (SOURCE_URL) answers GET ?after=CURSOR with a JSON array of events, oldest first, each with an `id`. An
// event counts as handed on when the webhook (TARGET_URL) has answered 2xx to its POST; then its id is the cursor, and
// saved in the checkpoint: the next leader, wherever it runs, goes on behind it.

import { load, save } from 'leasehold:task/checkpoint@0.1.0';
import { stopRequested, subscribeStop } from 'leasehold:task/leadership@0.1.0';
import { report } from 'leasehold:task/progress@0.1.0';
import { getEnvironment } from 'wasi:cli/environment@0.2.12';
import { subscribeDuration } from 'wasi:clocks/monotonic-clock@0.2.12';
import { poll } from 'wasi:io/poll@0.2.12';

const RETRY_MS_MAX = 30_000;

export async function onStartLeading(term) {
  try {
    await relay(term);
  } catch (error) {
    // What is thrown has to be a string: an Error ends as a trap.
    throw String(error?.message ?? error);
  }
}

async function relay(term) {
  const config = fromEnvironment();
  const stop = subscribeStop();
  const sleep = (ms) => poll([stop, subscribeDuration(BigInt(ms) * 1_000_000n)]);

  let cursor = loadCursor();
  console.log(`goes on after ${cursor ?? 'nothing'}, token ${term.token}`);
  let retryMs = config.everyMs;
  while (stopRequested() === undefined) {
    try {
      for (const event of await read(config.source, cursor)) {
        if (stopRequested() !== undefined) break;
        await handOn(config.target, event, term);
        cursor = String(event.id);
        saveCursor(cursor);
        report(`handed on ${cursor}`);
      }
      report('looked');
      retryMs = config.everyMs;
      sleep(config.everyMs);
    } catch (error) {
      // What was not handed on stays in the outbox, and is tried again: nothing overtakes it.
      console.error(`not handed on: ${error.message ?? error}; again in ${retryMs} ms`);
      sleep(retryMs);
      retryMs = Math.min(retryMs * 2, RETRY_MS_MAX);
    }
  }
  console.log(`asked to stop: ${stopRequested()}`);
}

async function read(source, cursor) {
  const url = cursor === undefined ? source : `${source}?after=${encodeURIComponent(cursor)}`;
  const response = await fetch(url);
  if (response.status !== 200) throw new Error(`GET ${url}: ${response.status}`);
  const events = await response.json();
  if (!Array.isArray(events) || events.some((event) => event?.id === undefined)) {
    throw new Error(`GET ${url}: expected an array of events with an id`);
  }
  return events;
}

async function handOn(target, event, term) {
  const response = await fetch(target, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      // An event may come twice, when a leader ends between the answer and the save: by this the receiver knows.
      'idempotency-key': String(event.id),
      // By this it knows a leader that is none any more: tokens only grow.
      'x-leasehold-token': String(term.token),
    },
    body: JSON.stringify(event),
  });
  if (response.status < 200 || response.status > 299) {
    throw new Error(`POST ${target} of ${event.id}: ${response.status}`);
  }
}

function loadCursor() {
  const state = load();
  return state === undefined ? undefined : new TextDecoder().decode(state);
}

function saveCursor(cursor) {
  try {
    save(new TextEncoder().encode(cursor));
  } catch (error) {
    // `payload` is the save-error: { tag: 'not-leading' }, say.
    throw new Error(`the cursor is not saved: ${error.payload?.tag ?? error}`);
  }
}

function fromEnvironment() {
  const environment = new Map(getEnvironment());
  const url = (name) => {
    const text = environment.get(name) ?? '';
    if (!/^https?:\/\/./.test(text)) throw `${name}=${text}: expected a URL`;
    return text;
  };
  const everyMs = Number(environment.get('EVERY_MS') ?? 5_000);
  if (!Number.isInteger(everyMs) || everyMs < 1) throw `EVERY_MS=${environment.get('EVERY_MS')}: expected milliseconds`;
  return { source: url('SOURCE_URL'), target: url('TARGET_URL'), everyMs };
}
