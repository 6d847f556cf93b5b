package example;

import java.time.Duration;
import java.util.OptionalLong;

/** Whoever copies {@link Permission} copies this with it. No framework: {@code java -cp ... example.PermissionTest}. */
public final class PermissionTest {
    /** Of this machine's clock, which is not to begin at 0: nanoTime may be anything, and run over. */
    private static final long BEGIN = Long.MAX_VALUE - Duration.ofSeconds(5).toNanos();

    private long now = BEGIN;
    private final Permission permission = new Permission(() -> now);

    private interface Case {
        void run(PermissionTest test);
    }

    public static void main(String[] arguments) {
        runs("counts from the clock's reading, and not from the arrival", PermissionTest::countsFromTheReading);
        runs("is none when it arrives after its end", PermissionTest::arrivesAfterItsEnd);
        runs("ends by itself", PermissionTest::endsByItself);
        runs("takes no clock of another process", PermissionTest::takesNoClockOfAnotherProcess);
        runs("takes no clock that is none", PermissionTest::takesNoClockThatIsNone);
        runs("takes no clock from before it was withdrawn", PermissionTest::takesNoClockFromBeforeItWasWithdrawn);
        runs("takes no clock of the moment in which it was withdrawn", PermissionTest::takesNoClockOfThatVeryMoment);
        runs("takes no lower token, and keeps what it has", PermissionTest::takesNoLowerToken);
        runs("is withdrawn by no lower token", PermissionTest::isWithdrawnByNoLowerToken);
        runs("keeps the highest token when it is withdrawn", PermissionTest::keepsTheHighestTokenWhenWithdrawn);
        runs("is the longest of several", PermissionTest::isTheLongestOfSeveral);
        System.out.println("all is well");
    }

    private static void runs(String name, Case one) {
        try {
            one.run(new PermissionTest());
        } catch (AssertionError error) {
            throw new AssertionError("a permission " + name + ": " + error.getMessage(), error);
        }
        System.out.println("a permission " + name + ": ok");
    }

    private void countsFromTheReading() {
        passes(1);
        String clock = permission.clock();
        passes(1500);
        check(permission.grant(7, clock, 2000), "granted");
        passes(499);
        expect(7);
        passes(1);
        expectNone();
    }

    private void arrivesAfterItsEnd() {
        passes(1);
        String clock = permission.clock();
        passes(2000);
        permission.grant(7, clock, 2000);
        expectNone();
    }

    /** Over the end of what a long can hold, too. */
    private void endsByItself() {
        expectNone();
        passes(1);
        check(permission.grant(7, permission.clock(), 60_000), "granted");
        expect(7);
        passes(59_999);
        expect(7);
        passes(1);
        expectNone();
    }

    private void takesNoClockOfAnotherProcess() {
        Permission other = new Permission(() -> now);
        passes(1);
        check(!permission.grant(7, other.clock(), 2000), "not granted");
        expectNone();
        check(permission.grant(7, permission.clock(), 2000), "granted with its own");
        expect(7);
    }

    private void takesNoClockThatIsNone() {
        passes(1);
        check(!permission.grant(7, null, 2000), "not granted without one");
        check(!permission.grant(7, "", 2000), "not granted with an empty one");
        check(!permission.grant(7, Long.toString(now), 2000), "not granted with one that names no process");
        expectNone();
    }

    private void takesNoClockFromBeforeItWasWithdrawn() {
        passes(1);
        String clock = permission.clock();
        check(permission.grant(7, clock, 2000), "granted");
        passes(1);
        check(permission.withdraw(7), "withdrawn");
        expectNone();
        passes(1);
        check(!permission.grant(7, clock, 2000), "the call that comes late does not count");
        check(!permission.grant(8, clock, 2000), "nor with a higher token");
        expectNone();
        check(permission.grant(8, permission.clock(), 2000), "granted with a newer clock");
        expect(8);
    }

    private void takesNoClockOfThatVeryMoment() {
        passes(1);
        String clock = permission.clock();
        check(permission.withdraw(7), "withdrawn");
        check(!permission.grant(7, clock, 2000), "not granted");
        expectNone();
    }

    private void takesNoLowerToken() {
        passes(1);
        check(permission.grant(7, permission.clock(), 2000), "granted");
        check(!permission.grant(6, permission.clock(), 5000), "not granted");
        expect(7);
        passes(2000);
        expectNone();
        check(!permission.grant(6, permission.clock(), 5000), "not after its end, either");
        expectNone();
    }

    private void isWithdrawnByNoLowerToken() {
        passes(1);
        check(permission.grant(7, permission.clock(), 2000), "granted");
        check(!permission.withdraw(6), "not withdrawn");
        expect(7);
        check(permission.withdraw(8), "withdrawn by a higher one");
        expectNone();
    }

    private void keepsTheHighestTokenWhenWithdrawn() {
        passes(1);
        check(permission.grant(7, permission.clock(), 2000), "granted");
        check(permission.withdraw(7), "withdrawn");
        passes(1);
        check(!permission.grant(6, permission.clock(), 2000), "not granted");
        expectNone();
    }

    private void isTheLongestOfSeveral() {
        passes(1);
        String clock = permission.clock();
        check(permission.grant(7, clock, 2000), "granted");
        check(permission.grant(7, clock, 1000), "taken, and of no consequence");
        passes(1999);
        expect(7);
        passes(1);
        expectNone();
    }

    private void passes(long ms) {
        now += Duration.ofMillis(ms).toNanos();
    }

    private void expect(long token) {
        check(permission.token().equals(OptionalLong.of(token)), "the token is " + token + ", and not " + permission.token());
        check(permission.isValid(), "valid");
    }

    private void expectNone() {
        check(permission.token().isEmpty() && !permission.isValid(), "none, and not " + permission.token());
    }

    private static void check(boolean right, String words) {
        if (!right) {
            throw new AssertionError(words);
        }
    }
}
