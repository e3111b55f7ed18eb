package zipline.flink.algebra;

import java.math.BigDecimal;
import java.math.RoundingMode;
import org.apache.flink.table.data.ArrayData;
import org.apache.flink.table.data.DecimalData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.data.TimestampData;

/**
 * The values of one type. {@code clean} is the door: from Flink's internal value to a clean one, null for null. A clean
 * integer, truth, day or instant is a Long, a float a Double that is neither NaN nor -0.0, a decimal a BigDecimal of its
 * type's scale, text and binary are {@link Bytes}; these compare in the values' own order.
 *
 * <p>{@code word} is the value as a word of a record, without an object: {@link #isAbsent} says beforehand what is null.
 */
abstract class Values {
    static final long FIRST_DAY = 719_163;
    private static final long LAST_DAY = 3_652_059;

    static Values of(Type type) {
        return switch (type.name()) {
            case "TINYINT", "SMALLINT", "INT", "BIGINT" -> new Integers(type.name());
            case "TIMESTAMP" -> new Instants();
            case "DATE" -> new Dates();
            case "BOOLEAN" -> new Truths();
            case "FLOAT", "DOUBLE" -> new Floats(type.name().equals("FLOAT"));
            case "DECIMAL" -> new Decimals(type.scale());
            case "STRING" -> new Texts();
            case "BINARY" -> new Binaries();
            default -> new Opaque(type.name().equals("NULL"));
        };
    }

    abstract Object clean(Object raw);

    abstract int compare(Object a, Object b);

    abstract void write(Output out, Object clean);

    abstract Object read(Input in);

    boolean isFloat() {
        return false;
    }

    /** The nearest double. */
    double number(Object clean) {
        return ((Number) clean).doubleValue();
    }

    /** Whether a value that is not null is null at the door. */
    boolean isAbsent(Object raw) {
        return false;
    }

    boolean isAbsent(ArrayData list, int place) {
        return false;
    }

    long word(Object raw) {
        return 0;
    }

    long word(ArrayData list, int place) {
        return 0;
    }

    static long micros(TimestampData instant) {
        return instant.getMillisecond() * 1000 + instant.getNanoOfMillisecond() / 1000;
    }

    /** What is one integer. */
    private abstract static class Longs extends Values {
        @Override
        final int compare(Object a, Object b) {
            return Long.compare((Long) a, (Long) b);
        }

        @Override
        void write(Output out, Object clean) {
            out.integer((Long) clean);
        }

        @Override
        Object read(Input in) {
            return in.integer();
        }
    }

    private static final class Integers extends Longs {
        private final String name;

        Integers(String name) {
            this.name = name;
        }

        @Override
        Object clean(Object raw) {
            return raw == null || raw instanceof Long ? raw : (Object) ((Number) raw).longValue();
        }

        @Override
        long word(Object raw) {
            return ((Number) raw).longValue();
        }

        @Override
        long word(ArrayData list, int place) {
            return switch (name) {
                case "TINYINT" -> list.getByte(place);
                case "SMALLINT" -> list.getShort(place);
                case "INT" -> list.getInt(place);
                default -> list.getLong(place);
            };
        }
    }

    private static final class Instants extends Longs {
        @Override
        Object clean(Object raw) {
            return raw == null ? null : micros((TimestampData) raw);
        }

        @Override
        long word(Object raw) {
            return micros((TimestampData) raw);
        }

        @Override
        long word(ArrayData list, int place) {
            return micros(list.getTimestamp(place, 6));
        }
    }

    /** Days since 1970-01-01; one outside the years 1 to 9999, which nobody could read back, is null. */
    private static final class Dates extends Longs {
        @Override
        Object clean(Object raw) {
            return raw == null || isAbsent(raw) ? null : word(raw);
        }

        @Override
        void write(Output out, Object clean) {
            out.date((Long) clean + FIRST_DAY);
        }

        @Override
        Object read(Input in) {
            return in.date() - FIRST_DAY;
        }

        @Override
        boolean isAbsent(Object raw) {
            return isNoDay((Integer) raw);
        }

        @Override
        boolean isAbsent(ArrayData list, int place) {
            return isNoDay(list.getInt(place));
        }

        @Override
        long word(Object raw) {
            return (Integer) raw;
        }

        @Override
        long word(ArrayData list, int place) {
            return list.getInt(place);
        }

        private static boolean isNoDay(int day) {
            long ordinal = day + FIRST_DAY;
            return ordinal < 1 || ordinal > LAST_DAY;
        }
    }

    private static final class Truths extends Longs {
        @Override
        Object clean(Object raw) {
            return raw == null ? null : word(raw);
        }

        @Override
        void write(Output out, Object clean) {
            out.truth((Long) clean != 0);
        }

        @Override
        Object read(Input in) {
            return in.truth() ? 1L : 0L;
        }

        @Override
        long word(Object raw) {
            return (Boolean) raw ? 1 : 0;
        }

        @Override
        long word(ArrayData list, int place) {
            return list.getBoolean(place) ? 1 : 0;
        }
    }

    private static final class Floats extends Values {
        private final boolean isSingle;

        Floats(boolean isSingle) {
            this.isSingle = isSingle;
        }

        @Override
        boolean isFloat() {
            return true;
        }

        @Override
        Object clean(Object raw) {
            if (raw == null) {
                return null;
            }
            double number = ((Number) raw).doubleValue();
            if (number != number) {
                return null;
            }
            return raw instanceof Double && number != 0.0 ? raw : (Object) (number + 0.0);
        }

        @Override
        int compare(Object a, Object b) {
            return Double.compare((Double) a, (Double) b);
        }

        @Override
        void write(Output out, Object clean) {
            out.number((Double) clean);
        }

        @Override
        Object read(Input in) {
            return in.number();
        }

        @Override
        boolean isAbsent(Object raw) {
            return Double.isNaN(((Number) raw).doubleValue());
        }

        @Override
        boolean isAbsent(ArrayData list, int place) {
            return Double.isNaN(number(list, place));
        }

        @Override
        long word(Object raw) {
            return Double.doubleToRawLongBits(((Number) raw).doubleValue() + 0.0);
        }

        @Override
        long word(ArrayData list, int place) {
            return Double.doubleToRawLongBits(number(list, place) + 0.0);
        }

        private double number(ArrayData list, int place) {
            return isSingle ? list.getFloat(place) : list.getDouble(place);
        }
    }

    private static final class Decimals extends Values {
        private final int scale;

        Decimals(int scale) {
            this.scale = scale;
        }

        @Override
        Object clean(Object raw) {
            if (raw == null) {
                return null;
            }
            BigDecimal found = ((DecimalData) raw).toBigDecimal();
            return found.scale() == scale ? found : found.setScale(scale, RoundingMode.HALF_EVEN);
        }

        @Override
        int compare(Object a, Object b) {
            return ((BigDecimal) a).compareTo((BigDecimal) b);
        }

        @Override
        void write(Output out, Object clean) {
            out.decimal((BigDecimal) clean);
        }

        @Override
        Object read(Input in) {
            return in.decimal();
        }
    }

    /** Text and binary. */
    private abstract static class Contents extends Values {
        @Override
        final int compare(Object a, Object b) {
            return ((Bytes) a).compareTo((Bytes) b);
        }
    }

    private static final class Texts extends Contents {
        @Override
        Object clean(Object raw) {
            return raw == null ? null : Bytes.of(((StringData) raw).toBytes());
        }

        @Override
        void write(Output out, Object clean) {
            out.text((Bytes) clean);
        }

        @Override
        Object read(Input in) {
            return in.text();
        }
    }

    private static final class Binaries extends Contents {
        @Override
        Object clean(Object raw) {
            return raw == null ? null : Bytes.of((byte[]) raw);
        }

        @Override
        void write(Output out, Object clean) {
            out.binary((Bytes) clean);
        }

        @Override
        Object read(Input in) {
            return in.binary();
        }
    }

    /** Nested values, of which nothing is asked but whether they are there; and those of type NULL, which never are. */
    private static final class Opaque extends Values {
        private final boolean isNull;

        Opaque(boolean isNull) {
            this.isNull = isNull;
        }

        @Override
        Object clean(Object raw) {
            return isNull ? null : raw;
        }

        @Override
        boolean isAbsent(Object raw) {
            return isNull;
        }

        @Override
        boolean isAbsent(ArrayData list, int place) {
            return isNull;
        }

        @Override
        int compare(Object a, Object b) {
            throw new UnsupportedOperationException("values of this type have no order");
        }

        @Override
        void write(Output out, Object clean) {
            throw new UnsupportedOperationException("values of this type are not kept");
        }

        @Override
        Object read(Input in) {
            throw new UnsupportedOperationException("values of this type are not kept");
        }
    }
}
