package zipline.flink.algebra;

import java.math.BigInteger;

/**
 * An exact total of doubles, in units of 2**-1074. Each limb counts 32 bits and may run over, so that adding touches three
 * of them; there are as many as the values' magnitudes need.
 */
final class Exact {
    private static final long MASK = 0xFFFF_FFFFL;
    private static final int MOST_ADDED = 1 << 29;

    private long[] limbs = {};
    private int low;
    private int added;

    void add(double value, int weight) {
        long bits = Double.doubleToRawLongBits(value);
        int exponent = (int) (bits >>> 52 & 0x7FF);
        long digits = bits & (1L << 52) - 1 | (exponent == 0 ? 0 : 1L << 52);
        if (digits == 0) {
            return;
        }
        int shift = Math.max(exponent, 1) - 1;
        int at = shift >>> 5;
        int by = shift & 31;
        reach(at, at + 3);
        long sign = bits < 0 ? -weight : weight;
        limbs[at - low] += sign * (digits << by & MASK);
        limbs[at - low + 1] += sign * (digits >>> 32 - by & MASK);
        limbs[at - low + 2] += by == 0 ? 0 : sign * (digits >>> 64 - by);
        if (++added > MOST_ADDED) {
            set(total());
        }
    }

    void add(Exact other) {
        if (added + other.added > MOST_ADDED) {
            set(total().add(other.total()));
            return;
        }
        if (other.limbs.length > 0) {
            reach(other.low, other.low + other.limbs.length);
            for (int n = 0; n < other.limbs.length; n++) {
                limbs[other.low - low + n] += other.limbs[n];
            }
            added += other.added;
        }
    }

    BigInteger total() {
        BigInteger total = BigInteger.ZERO;
        for (int n = limbs.length - 1; n >= 0; n--) {
            total = total.shiftLeft(32).add(BigInteger.valueOf(limbs[n]));
        }
        return total.shiftLeft(32 * low);
    }

    void set(BigInteger total) {
        BigInteger rest = total.abs();
        low = rest.signum() == 0 ? 0 : rest.getLowestSetBit() >>> 5;
        rest = rest.shiftRight(32 * low);
        limbs = new long[rest.bitLength() + 31 >>> 5];
        for (int n = 0; n < limbs.length; n++) {
            limbs[n] = total.signum() * (rest.shiftRight(32 * n).longValue() & MASK);
        }
        added = 1;
    }

    Exact copied() {
        Exact made = new Exact();
        made.limbs = limbs.clone();
        made.low = low;
        made.added = added;
        return made;
    }

    /** Makes room for the limbs from {@code first} to before {@code end}. */
    private void reach(int first, int end) {
        if (limbs.length == 0) {
            limbs = new long[end - first];
            low = first;
        } else if (first < low || end > low + limbs.length) {
            int from = Math.min(first, low);
            long[] wider = new long[Math.max(end, low + limbs.length) - from];
            System.arraycopy(limbs, 0, wider, low - from, limbs.length);
            limbs = wider;
            low = from;
        }
    }
}
