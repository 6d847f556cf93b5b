// Runs while this replica leads.

import { stopRequested, subscribeStop } from 'leasehold:task/leadership@0.1.0';
import { subscribeDuration } from 'wasi:clocks/monotonic-clock@0.2.12';
import { poll } from 'wasi:io/poll@0.2.12';

const PAUSE_NS = 1_000_000_000n;

// It may be async, and await what it likes. To fail, throw a string: an Error ends as a trap.
export function onStartLeading(term) {
  const stop = subscribeStop();
  for (let round = 1; ; round++) {
    // The work comes here. Send the token along with what is written, and let the receiver refuse lower ones.
    console.log(`round ${round}, token ${term.token}`);

    poll([stop, subscribeDuration(PAUSE_NS)]);
    const reason = stopRequested();
    if (reason !== undefined) {
      console.log(`asked to stop: ${reason}`);
      return;
    }
  }
}
