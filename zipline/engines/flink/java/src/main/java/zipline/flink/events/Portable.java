package zipline.flink.events;

import java.io.Serializable;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.flink.table.api.ValidationException;
import org.apache.flink.table.types.logical.DecimalType;
import org.apache.flink.table.types.logical.LocalZonedTimestampType;
import org.apache.flink.table.types.logical.LogicalType;
import org.apache.flink.table.types.logical.LogicalTypeRoot;
import org.apache.flink.table.types.logical.RowType;

/**
 * A column type of the platform. {@code parts} are what an array, a map or a struct is of, {@code names} the struct's
 * fields.
 */
record Portable(Kind kind, int precision, int scale, List<String> names, List<Portable> parts) implements Serializable {

    enum Kind {
        BOOLEAN(LogicalTypeRoot.BOOLEAN),
        TINYINT(LogicalTypeRoot.TINYINT),
        SMALLINT(LogicalTypeRoot.SMALLINT),
        INT(LogicalTypeRoot.INTEGER),
        BIGINT(LogicalTypeRoot.BIGINT),
        FLOAT(LogicalTypeRoot.FLOAT),
        DOUBLE(LogicalTypeRoot.DOUBLE),
        STRING(LogicalTypeRoot.VARCHAR),
        BINARY(LogicalTypeRoot.VARBINARY),
        DATE(LogicalTypeRoot.DATE),
        TIMESTAMP(LogicalTypeRoot.TIMESTAMP_WITH_LOCAL_TIME_ZONE),
        DECIMAL(LogicalTypeRoot.DECIMAL),
        ARRAY(LogicalTypeRoot.ARRAY),
        MAP(LogicalTypeRoot.MAP),
        STRUCT(LogicalTypeRoot.ROW),
        NULL(LogicalTypeRoot.NULL);

        final LogicalTypeRoot root;

        Kind(LogicalTypeRoot root) {
            this.root = root;
        }
    }

    /** The type that {@code zipline.types} prints like this. */
    static Portable parse(String text) {
        Reading reading = new Reading(text);
        Portable found = reading.type();
        if (reading.at != text.length()) {
            throw reading.unknown();
        }
        return found;
    }

    private static Portable of(Kind kind, Portable... parts) {
        return new Portable(kind, 0, 0, List.of(), List.of(parts));
    }

    /** Whether values of this type are what Flink holds in a column of that type. */
    boolean isHeldBy(LogicalType type) {
        if (type.getTypeRoot() != kind.root) {
            return false;
        }
        return switch (kind) {
            case TIMESTAMP -> ((LocalZonedTimestampType) type).getPrecision() == 6;
            case DECIMAL -> ((DecimalType) type).getPrecision() == precision && ((DecimalType) type).getScale() == scale;
            case ARRAY, MAP -> areHeldBy(type.getChildren());
            case STRUCT -> ((RowType) type).getFieldNames().equals(names) && areHeldBy(type.getChildren());
            default -> true;
        };
    }

    private boolean areHeldBy(List<LogicalType> types) {
        for (int i = 0; i < parts.size(); i++) {
            if (!parts.get(i).isHeldBy(types.get(i))) {
                return false;
            }
        }
        return true;
    }

    @Override
    public String toString() {
        return switch (kind) {
            case DECIMAL -> "DECIMAL(" + precision + ", " + scale + ")";
            case ARRAY -> "ARRAY<" + parts.get(0) + ">";
            case MAP -> "MAP<" + parts.get(0) + ", " + parts.get(1) + ">";
            case STRUCT -> {
                List<String> fields = new ArrayList<>();
                for (int i = 0; i < names.size(); i++) {
                    fields.add(names.get(i) + ": " + parts.get(i));
                }
                yield "STRUCT<" + String.join(", ", fields) + ">";
            }
            default -> kind.name();
        };
    }

    private static final class Reading {
        private static final Map<String, Kind> NESTED =
                Map.of("DECIMAL", Kind.DECIMAL, "ARRAY", Kind.ARRAY, "MAP", Kind.MAP, "STRUCT", Kind.STRUCT);
        private final String text;
        private int at;

        Reading(String text) {
            this.text = text;
        }

        Portable type() {
            int from = at;
            while (at < text.length() && Character.isLetter(text.charAt(at))) {
                at++;
            }
            String word = text.substring(from, at);
            Kind nested = NESTED.get(word);
            if (nested == null) {
                return of(scalar(word));
            }
            return switch (nested) {
                case DECIMAL -> decimal();
                case ARRAY -> {
                    expect("<");
                    Portable element = type();
                    expect(">");
                    yield of(Kind.ARRAY, element);
                }
                case MAP -> {
                    expect("<");
                    Portable key = type();
                    expect(", ");
                    Portable value = type();
                    expect(">");
                    yield of(Kind.MAP, key, value);
                }
                default -> struct();
            };
        }

        private Kind scalar(String word) {
            try {
                return Kind.valueOf(word);
            } catch (IllegalArgumentException none) {
                throw unknown();
            }
        }

        private Portable decimal() {
            expect("(");
            int comma = text.indexOf(", ", at);
            int close = text.indexOf(')', at);
            if (comma < 0 || close < comma) {
                throw unknown();
            }
            int precision = number(at, comma);
            int scale = number(comma + 2, close);
            at = close + 1;
            if (precision < 1 || precision > 38 || scale > precision) {
                throw unknown();
            }
            return new Portable(Kind.DECIMAL, precision, scale, List.of(), List.of());
        }

        private int number(int from, int to) {
            try {
                return Integer.parseUnsignedInt(text.substring(from, to));
            } catch (NumberFormatException none) {
                throw unknown();
            }
        }

        private Portable struct() {
            List<String> names = new ArrayList<>();
            List<Portable> parts = new ArrayList<>();
            expect("<");
            while (true) {
                int colon = text.indexOf(": ", at);
                if (colon < 0) {
                    throw unknown();
                }
                names.add(text.substring(at, colon));
                at = colon + 2;
                parts.add(type());
                if (text.startsWith(">", at)) {
                    at++;
                    return new Portable(Kind.STRUCT, 0, 0, List.copyOf(names), List.copyOf(parts));
                }
                expect(", ");
            }
        }

        private void expect(String mark) {
            if (!text.startsWith(mark, at)) {
                throw unknown();
            }
            at += mark.length();
        }

        ValidationException unknown() {
            return new ValidationException("'" + text + "' is no type of the platform");
        }
    }
}
