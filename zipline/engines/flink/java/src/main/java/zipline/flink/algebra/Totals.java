package zipline.flink.algebra;

import java.math.BigInteger;

/** COUNT, SUM and AVERAGE, exactly; and the moments of VARIANCE, SKEW and KURTOSIS. */
final class Totals {
    private Totals() {}

    static final class Count extends Ir {
        private long n;

        @Override
        void take(int weight, long t, long known, Object value) {
            n += weight;
        }

        @Override
        void merge(Ir other) {
            n += ((Count) other).n;
        }

        @Override
        boolean isEmpty() {
            return n == 0;
        }

        @Override
        void write(Output out, boolean stored) {
            out.integer(n);
        }

        @Override
        void read(Input in) {
            n = in.integer();
        }

        @Override
        Ir copied() {
            Count made = new Count();
            made.n = n;
            return made;
        }
    }

    /** A total of integers as that of their low 32 bits and that of what is above. */
    static final class OfIntegers extends Ir {
        private static final long LOW = 0xFFFF_FFFFL;
        private long n;
        private long low;
        private long high;

        @Override
        void take(int weight, long t, long known, Object value) {
            long number = (Long) value;
            n += weight;
            low += weight * (number & LOW);
            high += weight * (number >> 32);
        }

        @Override
        void merge(Ir other) {
            OfIntegers more = (OfIntegers) other;
            n += more.n;
            low += more.low;
            high += more.high;
        }

        @Override
        boolean isEmpty() {
            return n == 0 && (low & LOW) == 0 && high + (low >> 32) == 0;
        }

        @Override
        void write(Output out, boolean stored) {
            out.tuple(2);
            out.integer(n);
            out.integer(BigInteger.valueOf(high).shiftLeft(32).add(BigInteger.valueOf(low)));
        }

        @Override
        void read(Input in) {
            in.tuple();
            n = in.integer();
            BigInteger total = in.big();
            low = total.longValue() & LOW;
            high = total.shiftRight(32).longValue();
        }

        @Override
        Ir copied() {
            OfIntegers made = new OfIntegers();
            made.n = n;
            made.low = low;
            made.high = high;
            return made;
        }
    }

    /** A total of doubles, infinities counted apart. */
    static final class OfFloats extends Ir {
        private final Values values;
        private long n;
        private Exact finite = new Exact();
        private long plus;
        private long minus;

        OfFloats(Values values) {
            this.values = values;
        }

        @Override
        void take(int weight, long t, long known, Object value) {
            double number = values.number(value);
            n += weight;
            if (Double.isInfinite(number)) {
                plus += number > 0 ? weight : 0;
                minus += number < 0 ? weight : 0;
            } else {
                finite.add(number, weight);
            }
        }

        @Override
        void merge(Ir other) {
            OfFloats more = (OfFloats) other;
            n += more.n;
            finite.add(more.finite);
            plus += more.plus;
            minus += more.minus;
        }

        @Override
        boolean isEmpty() {
            return n == 0 && plus == 0 && minus == 0 && finite.total().signum() == 0;
        }

        @Override
        void write(Output out, boolean stored) {
            out.tuple(4);
            out.integer(n);
            out.integer(finite.total());
            out.integer(plus);
            out.integer(minus);
        }

        @Override
        void read(Input in) {
            in.tuple();
            n = in.integer();
            finite.set(in.big());
            plus = in.integer();
            minus = in.integer();
        }

        @Override
        Ir copied() {
            OfFloats made = new OfFloats(values);
            made.n = n;
            made.finite = finite.copied();
            made.plus = plus;
            made.minus = minus;
            return made;
        }
    }

    /** How many values are infinite, and the state of the others; of VARIANCE without what only SKEW and KURTOSIS need. */
    static final class Spread extends Ir {
        private static final int GAIN = 3;
        private static final int INFINITE = 7;
        private final Values values;
        private final int kept;
        private long[] state = new long[Moments.WORDS];

        Spread(Values values, boolean isVariance) {
            this.values = values;
            this.kept = isVariance ? 5 : 7;
        }

        @Override
        void take(int weight, long t, long known, Object value) {
            Moments.add(state, 0, values.number(value));
        }

        @Override
        void merge(Ir other) {
            Moments.merge(state, 0, ((Spread) other).state, 0);
        }

        @Override
        boolean isEmpty() {
            return state[GAIN] == 0;
        }

        @Override
        void write(Output out, boolean stored) {
            out.tuple(1 + kept);
            out.integer((long) Double.longBitsToDouble(state[INFINITE]));
            for (int n = 0; n < kept; n++) {
                out.number(n == GAIN && isEmpty() ? Moments.HIGHEST_GAIN : Double.longBitsToDouble(state[n]));
            }
        }

        @Override
        void read(Input in) {
            in.tuple();
            long infinite = in.integer();
            for (int n = 0; n < kept; n++) {
                state[n] = Double.doubleToRawLongBits(in.number());
            }
            state[INFINITE] = Double.doubleToRawLongBits((double) infinite);
            if (state[0] == 0 && infinite == 0) {
                state[GAIN] = 0;
            }
        }

        @Override
        Ir copied() {
            Spread made = new Spread(values, kept == 5);
            made.state = state.clone();
            return made;
        }
    }
}
