package zipline.flink.events;

import static zipline.flink.events.Refused.Unfit;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.flink.table.data.GenericArrayData;
import org.apache.flink.table.data.GenericMapData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.data.TimestampData;

/**
 * Reads values of one type, as Flink holds them. A reader that does not build checks all the same, and gives null.
 *
 * <p>One that keeps gives an {@link Unfit} where the column cannot hold a value, else it throws it.
 */
abstract class Value {
    /** How values are made of what is read. */
    enum Mode {
        CHECKS,
        BUILDS,
        KEEPS
    }

    private final String expected;
    final boolean isNullable;
    final Mode mode;

    Value(String kind, boolean isNullable, Mode mode) {
        this.expected = "Expected " + kind + (isNullable && !kind.equals("null") ? " | null" : "") + ", got ";
        this.isNullable = isNullable;
        this.mode = mode;
    }

    static Value of(Portable type, boolean isNullable, Mode mode) {
        return switch (type.kind()) {
            case BOOLEAN -> new Truth(isNullable, mode);
            case TINYINT, SMALLINT, INT, BIGINT -> new Whole(type.kind(), isNullable, mode);
            case FLOAT, DOUBLE -> new Real(type.kind(), isNullable, mode);
            case STRING -> new Chars(isNullable, mode);
            case BINARY -> new Binary(isNullable, mode);
            case DATE -> new Day(isNullable, mode);
            case TIMESTAMP -> new Instant(isNullable, mode);
            case DECIMAL -> new Decimal(type.precision(), type.scale(), isNullable, mode);
            case ARRAY -> new Items(type, isNullable, mode);
            case MAP -> new Entries(type, isNullable, mode);
            case STRUCT -> Fields.struct(type.names(), type.parts(), isNullable, mode);
            case NULL -> new Nothing(mode);
        };
    }

    /** The value that begins at the next byte that is no white space. */
    Object read(Text text) throws Refused {
        try {
            switch (text.peek()) {
                case '"':
                    text.string();
                    return string(text);
                case '{':
                    return object(text);
                case '[':
                    return array(text);
                case 't':
                    text.literal("true");
                    return truth(true);
                case 'f':
                    text.literal("false");
                    return truth(false);
                case 'n':
                    text.literal("null");
                    if (isNullable) {
                        return null;
                    }
                    throw not("null");
                default:
                    text.number();
                    return number(text);
            }
        } catch (Unfit unfit) {
            return kept(unfit);
        }
    }

    final Object kept(Unfit unfit) throws Unfit {
        if (mode == Mode.KEEPS) {
            return unfit;
        }
        throw unfit;
    }

    /** The value whose text is the key of a map. */
    Object key(Text text) throws Refused {
        throw not("str");
    }

    Object string(Text text) throws Refused {
        throw not("str");
    }

    Object object(Text text) throws Refused {
        throw not("object");
    }

    Object array(Text text) throws Refused {
        throw not("array");
    }

    Object truth(boolean value) throws Refused {
        throw not("bool");
    }

    Object number(Text text) throws Refused {
        throw not(text.isFloat ? "float" : "int");
    }

    final Object numberKey(Text text) throws Refused {
        if (!text.isNumber()) {
            throw not("str");
        }
        return number(text);
    }

    final Refused not(String found) {
        return new Refused(expected + found);
    }

    final boolean builds() {
        return mode != Mode.CHECKS;
    }

    /** Passes over a value and says where it is: {@code {from, to}}, or null for null. */
    static final class Span extends Value {
        Span() {
            super("any", true, Mode.BUILDS);
        }

        @Override
        Object read(Text text) throws Refused {
            boolean isNull = text.peek() == 'n';
            int from = text.at;
            text.skip();
            return isNull ? null : new int[] {from, text.at};
        }
    }

    private static final class Nothing extends Value {
        Nothing(Mode mode) {
            super("null", true, mode);
        }
    }

    private static final class Truth extends Value {
        Truth(boolean isNullable, Mode mode) {
            super("bool", isNullable, mode);
        }

        @Override
        Object truth(boolean value) {
            return value;
        }
    }

    private static final class Whole extends Value {
        private final Portable.Kind kind;
        private final long least;
        private final long most;

        Whole(Portable.Kind kind, boolean isNullable, Mode mode) {
            super("int", isNullable, mode);
            this.kind = kind;
            int bits = 8 << kind.ordinal() - Portable.Kind.TINYINT.ordinal();
            this.least = Long.MIN_VALUE >> 64 - bits;
            this.most = ~least;
        }

        @Override
        Object number(Text text) throws Refused {
            if (text.isFloat) {
                throw not("float");
            }
            long value = text.whole(least, most);
            return switch (kind) {
                case TINYINT -> (Object) (byte) value;
                case SMALLINT -> (short) value;
                case INT -> (int) value;
                default -> value;
            };
        }

        @Override
        Object key(Text text) throws Refused {
            if (!text.isNumber() || text.isFloat) {
                throw not("str");
            }
            return number(text);
        }
    }

    private static final class Real extends Value {
        private static final double MOST = Float.MAX_VALUE;
        private final boolean isShort;

        Real(Portable.Kind kind, boolean isNullable, Mode mode) {
            super("float", isNullable, mode);
            this.isShort = kind == Portable.Kind.FLOAT;
        }

        @Override
        Object number(Text text) throws Refused {
            double value = text.real();
            if (!isShort) {
                return value;
            }
            if (value > MOST || value < -MOST) {
                throw new Refused(value > 0 ? "Expected float <= 3.4028234663852886e+38" : "Expected float >= -3.4028234663852886e+38");
            }
            return (float) value;
        }

        @Override
        Object key(Text text) throws Refused {
            return numberKey(text);
        }
    }

    private static final class Chars extends Value {
        Chars(boolean isNullable, Mode mode) {
            super("str", isNullable, mode);
        }

        @Override
        Object string(Text text) throws Refused {
            text.unicode();
            if (!builds()) {
                return null;
            }
            if (text.chars == text.bytes) {
                return StringData.fromBytes(text.chars, text.from, text.to - text.from);
            }
            return StringData.fromBytes(Arrays.copyOfRange(text.chars, text.from, text.to));
        }

        @Override
        Object key(Text text) throws Refused {
            return string(text);
        }
    }

    private static final class Binary extends Value {
        private static final Base64.Decoder BASE64 = Base64.getDecoder();

        Binary(boolean isNullable, Mode mode) {
            super("bytes", isNullable, mode);
        }

        @Override
        Object string(Text text) throws Refused {
            if ((text.to - text.from) % 4 == 0) {
                try {
                    return BASE64.decode(Arrays.copyOfRange(text.chars, text.from, text.to));
                } catch (IllegalArgumentException wrong) {
                    // As below.
                }
            }
            throw new Refused("Invalid base64 encoded string");
        }

        @Override
        Object key(Text text) throws Refused {
            return string(text);
        }
    }

    private static final class Day extends Value {
        Day(boolean isNullable, Mode mode) {
            super("date", isNullable, mode);
        }

        @Override
        Object string(Text text) throws Refused {
            return Instants.day(text.chars, text.from, text.to);
        }

        @Override
        Object key(Text text) throws Refused {
            return string(text);
        }
    }

    private static final class Instant extends Value {
        Instant(boolean isNullable, Mode mode) {
            super("int | datetime", isNullable, mode);
        }

        @Override
        Object string(Text text) throws Refused {
            return of(Instants.micros(text.chars, text.from, text.to));
        }

        @Override
        Object number(Text text) throws Refused {
            if (text.isFloat) {
                throw not("float");
            }
            return of(text.whole(Instants.FIRST, Instants.LAST));
        }

        @Override
        Object key(Text text) throws Refused {
            if (!text.isNumber()) {
                return string(text);
            }
            if (text.isFloat) {
                throw not("str");
            }
            return number(text);
        }

        private Object of(long micros) {
            return builds() ? instant(micros) : null;
        }
    }

    static TimestampData instant(long micros) {
        long millis = Math.floorDiv(micros, 1000);
        return TimestampData.fromEpochMillis(millis, (int) (micros - millis * 1000) * 1000);
    }

    private static final class Decimal extends Value {
        private final int precision;
        private final int scale;

        Decimal(int precision, int scale, boolean isNullable, Mode mode) {
            super("decimal", isNullable, mode);
            this.precision = precision;
            this.scale = scale;
        }

        @Override
        Object number(Text text) throws Refused {
            return Decimals.of(text.numberIn, text.start, text.numberEnd, precision, scale);
        }

        @Override
        Object string(Text text) throws Refused {
            text.unicode();
            return Decimals.of(text.shown(), precision, scale);
        }

        @Override
        Object key(Text text) throws Refused {
            return Decimals.isNone(text.shown()) ? string(text) : numberKey(text);
        }
    }

    private static final class Items extends Value {
        private final Value item;

        Items(Portable type, boolean isNullable, Mode mode) {
            super("array", isNullable, mode);
            this.item = of(type.parts().get(0), true, mode);
        }

        @Override
        Object array(Text text) throws Refused {
            text.at++;
            List<Object> found = builds() ? new ArrayList<>() : null;
            int number = 0;
            try {
                for (; text.next(number == 0, ']'); number++) {
                    Object value = item.read(text);
                    if (found != null) {
                        found.add(value);
                    }
                }
            } catch (Refused refused) {
                throw refused.within("[" + number + "]");
            }
            return found == null ? null : new GenericArrayData(found.toArray());
        }
    }

    private static final class Entries extends Value {
        private final Value key;
        private final Value item;

        Entries(Portable type, boolean isNullable, Mode mode) {
            super("object", isNullable, mode);
            this.key = of(type.parts().get(0), false, mode == Mode.KEEPS ? Mode.BUILDS : mode);
            this.item = of(type.parts().get(1), true, mode);
        }

        @Override
        Object object(Text text) throws Refused {
            text.at++;
            Map<Object, Object> found = builds() ? new LinkedHashMap<>() : null;
            Unfit unfit = null;
            for (boolean isFirst = true; text.next(isFirst, '}'); isFirst = false) {
                text.name();
                Object name = null;
                try {
                    name = key.key(text);
                } catch (Unfit wrong) {
                    unfit = wrong;
                } catch (Refused refused) {
                    throw refused.asKey();
                }
                text.colon();
                Object value;
                try {
                    value = item.read(text);
                } catch (Refused refused) {
                    throw refused.within("[...]");
                }
                if (found != null) {
                    found.put(known(name, found), value);
                }
            }
            if (unfit != null) {
                return kept(unfit);
            }
            return found == null ? null : new GenericMapData(found);
        }

        /** The key that is there already and equal, by value: the two zeros are one. */
        private static Object known(Object name, Map<Object, Object> found) {
            if (name instanceof byte[] bytes) {
                for (Object other : found.keySet()) {
                    if (Arrays.equals((byte[]) other, bytes)) {
                        return other;
                    }
                }
            } else if (name instanceof Double real && real == 0) {
                return found.containsKey(-real) ? (Object) (-real) : real;
            } else if (name instanceof Float real && real == 0) {
                return found.containsKey(-real) ? (Object) (-real) : real;
            }
            return name;
        }
    }
}
