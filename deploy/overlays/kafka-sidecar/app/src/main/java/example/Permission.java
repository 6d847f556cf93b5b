package example;

import java.time.Duration;
import java.util.OptionalLong;
import java.util.UUID;
import java.util.function.LongSupplier;

/**
 * May this process work now? The sidecar says so again and again, each time for a few seconds, by this process's own clock:
 * whatever becomes of the sidecar, or of this process, the permission runs out before another replica can have one.
 *
 * <p>This file and {@link Endpoints} are what an application needs, whatever it works with. Copy them.
 */
final class Permission {
    /** So that nothing which was meant for a process before this one counts here. */
    private final String process = UUID.randomUUID().toString();

    private final LongSupplier nanoTime;

    private long token;
    /** By {@link #nanoTime}, as the next one. */
    private long until;
    /** What was sent back from before this is late. */
    private long withdrawn;

    Permission() {
        this(System::nanoTime);
    }

    /** With a clock that a test can set. */
    Permission(LongSupplier nanoTime) {
        this.nanoTime = nanoTime;
        until = nanoTime.getAsLong();
        withdrawn = until;
    }

    /** What the sidecar sends back with its next call: it counts the permission from here, not from when its call arrives. */
    String clock() {
        return process + ":" + nanoTime.getAsLong();
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
        // Both are told inside of the lock, and so in their order.
        System.out.println("granted " + token + " at " + nanoTime.getAsLong() + " until " + until);
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
        until = nanoTime.getAsLong();
        withdrawn = until;
        System.out.println("withdrawn " + token + " at " + until);
        return true;
    }

    /** The fencing token to send along with whatever is done now; none where nothing may be done. */
    synchronized OptionalLong token() {
        return nanoTime.getAsLong() - until < 0 ? OptionalLong.of(token) : OptionalLong.empty();
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
