package example;

import java.time.Duration;
import java.util.OptionalLong;
import java.util.UUID;

/**
 * May this process work now? The sidecar says so again and again, each time for a few seconds, by this process's own clock:
 * whatever becomes of the sidecar, or of this process, the permission runs out before another replica can have one.
 *
 * <p>This file and {@link Endpoints} are what an application needs, whatever it works with. Copy them.
 */
final class Permission {
    /** So that nothing which was meant for a process before this one counts here. */
    private final String process = UUID.randomUUID().toString();

    private long token;
    /** By {@link System#nanoTime}, as the next one. */
    private long until = System.nanoTime();
    /** What was sent back from before this is late. */
    private long withdrawn = System.nanoTime();

    /** What the sidecar sends back with its next call: it counts the permission from here, not from when its call arrives. */
    String clock() {
        return process + ":" + System.nanoTime();
    }

    /**
     * Until {@code validForMs} after {@code clock}, which is what {@link #clock} once returned.
     *
     * @return whether it counts; it does not where the clock is another process's, or from before the last {@link #withdraw},
     *     or where a higher token was here
     */
    synchronized boolean grant(long token, String clock, long validForMs) {
        String mine = process + ":";
        if (clock == null || !clock.startsWith(mine) || token < this.token) {
            return false;
        }
        long since = Long.parseLong(clock.substring(mine.length()));
        if (since - withdrawn <= 0) {
            return false;
        }
        long end = since + Duration.ofMillis(validForMs).toNanos();
        this.token = token;
        if (end - until > 0) {
            until = end;
        }
        notifyAll();
        return true;
    }

    /**
     * At once.
     *
     * @return whether it counts; a call of an earlier term, which comes late, does not
     */
    synchronized boolean withdraw(long token) {
        if (token < this.token) {
            return false;
        }
        until = System.nanoTime();
        withdrawn = until;
        return true;
    }

    /** The fencing token to send along with whatever is done now; none where nothing may be done. */
    synchronized OptionalLong token() {
        return System.nanoTime() - until < 0 ? OptionalLong.of(token) : OptionalLong.empty();
    }

    boolean isValid() {
        return token().isPresent();
    }

    /** Waits until there is one, for as long as this at most. */
    synchronized void await(Duration atMost) throws InterruptedException {
        if (!isValid()) {
            wait(atMost.toMillis());
        }
    }
}
