package zipline.flink.algebra;

/**
 * The state of {@code zipline/algebra/moments.py} in eight words of an array: n, the mean as a pair of doubles, gain, m2,
 * m3, m4, and how many values are infinite, all doubles. The words of no values are 0. The arithmetic is the same.
 */
final class Moments {
    static final int WORDS = 8;
    static final double HIGHEST_GAIN = 0x1p900;
    private static final int GAIN_EXPONENT = 900;
    private static final double LARGEST_DEVIATION = 0x1p100;
    private static final int N = 0;
    private static final int HI = 1;
    private static final int LO = 2;
    private static final int GAIN = 3;
    private static final int M2 = 4;
    private static final int M3 = 5;
    private static final int M4 = 6;
    private static final int INFINITE = 7;

    private Moments() {}

    static void add(long[] words, int at, double value) {
        double n = get(words, at + N) + 1.0;
        double gain = n == 1.0 ? HIGHEST_GAIN : get(words, at + GAIN);
        if (Double.isInfinite(value)) {
            put(words, at + GAIN, gain);
            put(words, at + INFINITE, get(words, at + INFINITE) + 1.0);
            return;
        }
        double hi = get(words, at + HI);
        double lo = get(words, at + LO);
        double m2 = get(words, at + M2);
        double m3 = get(words, at + M3);
        double m4 = get(words, at + M4);
        double lowered = gainOf(value, 0.0, hi, lo, gain);
        double deviation = deviation(value, 0.0, hi, lo, lowered);
        if (lowered != gain) {
            double ratio = lowered / gain;
            double square = ratio * ratio;
            m2 *= square;
            m3 *= square * ratio;
            m4 *= square * square;
        }
        double step = deviation / n;
        double term = deviation * step * (n - 1.0);
        double square = step * step;
        put(words, at + N, n);
        shift(words, at, hi, lo, step / lowered);
        put(words, at + GAIN, lowered);
        put(words, at + M2, m2 + term);
        put(words, at + M3, m3 + (term * step * (n - 2.0) - 3.0 * step * m2));
        put(words, at + M4, m4 + (term * square * (n * n - 3.0 * n + 3.0) + 6.0 * square * m2 - 4.0 * step * m3));
    }

    /** Adds the state of {@code from}. */
    static void merge(long[] words, int at, long[] from, int place) {
        double infinite = get(words, at + INFINITE) + get(from, place + INFINITE);
        if (get(words, at + N) == 0.0 && get(from, place + GAIN) != 0.0) {
            System.arraycopy(from, place, words, at, WORDS);
        } else if (get(from, place + N) != 0.0) {
            if (precedes(from, place, words, at)) {
                combine(from, place, words, at, words, at);
            } else {
                combine(words, at, from, place, words, at);
            }
        }
        put(words, at + INFINITE, infinite);
    }

    private static void combine(long[] a, int atA, long[] b, int atB, long[] out, int at) {
        double countA = get(a, atA + N);
        double countB = get(b, atB + N);
        double n = countA + countB;
        double hi = get(a, atA + HI);
        double lo = get(a, atA + LO);
        double least = Math.min(get(a, atA + GAIN), get(b, atB + GAIN));
        double gain = gainOf(get(b, atB + HI), get(b, atB + LO), hi, lo, least);
        double d = deviation(get(b, atB + HI), get(b, atB + LO), hi, lo, gain);
        double ratio = gain / get(a, atA + GAIN);
        double square = ratio * ratio;
        double m2A = get(a, atA + M2) * square;
        double m3A = get(a, atA + M3) * (square * ratio);
        double m4A = get(a, atA + M4) * (square * square);
        ratio = gain / get(b, atB + GAIN);
        square = ratio * ratio;
        double m2B = get(b, atB + M2) * square;
        double m3B = get(b, atB + M3) * (square * ratio);
        double m4B = get(b, atB + M4) * (square * square);
        double p = countA / n;
        double q = countB / n;
        square = d * d;
        double between = square * (countA * q);
        put(out, at + N, n);
        shift(out, at, hi, lo, d * q / gain);
        put(out, at + GAIN, gain);
        put(out, at + M2, (m2A + m2B) + between);
        put(out, at + M3, (m3A + m3B) + (between * d * (p - q) + 3.0 * d * (p * m2B - q * m2A)));
        put(
                out,
                at + M4,
                (m4A + m4B)
                        + (between * square * (p * p - p * q + q * q)
                                + 6.0 * square * (p * p * m2B + q * q * m2A)
                                + 4.0 * d * (p * m3B - q * m3A)));
    }

    private static boolean precedes(long[] a, int atA, long[] b, int atB) {
        if (get(a, atA + N) != get(b, atB + N)) {
            return get(a, atA + N) > get(b, atB + N);
        }
        for (int place : new int[] {HI, LO}) {
            if (get(a, atA + place) != get(b, atB + place)) {
                return get(a, atA + place) < get(b, atB + place);
            }
        }
        return get(a, atA + M2) < get(b, atB + M2);
    }

    private static void shift(long[] words, int at, double hi, double lo, double step) {
        double total = hi + step;
        double back = total - hi;
        double low = lo + ((hi - (total - back)) + (step - back));
        double high = total + low;
        put(words, at + HI, high);
        put(words, at + LO, low - (high - total));
    }

    /** The gain, lowered where the difference is out of its range. */
    private static double gainOf(double toHi, double toLo, double hi, double lo, double gain) {
        double difference = (toHi - hi) + (toLo - lo);
        if (Math.abs(difference * gain) <= LARGEST_DEVIATION) {
            return gain;
        }
        if (Double.isInfinite(difference)) {
            return 0x1p-1000;
        }
        return Math.scalb(1.0, -Math.max(Math.getExponent(difference) + 1, -GAIN_EXPONENT));
    }

    private static double deviation(double toHi, double toLo, double hi, double lo, double gain) {
        double difference = (toHi - hi) + (toLo - lo);
        if (Double.isInfinite(difference)) {
            return (toHi * gain - hi * gain) + (toLo * gain - lo * gain);
        }
        return difference * gain;
    }

    private static double get(long[] words, int at) {
        return Double.longBitsToDouble(words[at]);
    }

    private static void put(long[] words, int at, double value) {
        words[at] = Double.doubleToRawLongBits(value);
    }
}
