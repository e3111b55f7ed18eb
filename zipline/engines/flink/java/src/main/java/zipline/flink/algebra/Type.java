package zipline.flink.algebra;

import java.util.ArrayList;
import java.util.List;
import org.apache.flink.table.types.logical.ArrayType;
import org.apache.flink.table.types.logical.BigIntType;
import org.apache.flink.table.types.logical.BooleanType;
import org.apache.flink.table.types.logical.DateType;
import org.apache.flink.table.types.logical.DecimalType;
import org.apache.flink.table.types.logical.DoubleType;
import org.apache.flink.table.types.logical.FloatType;
import org.apache.flink.table.types.logical.IntType;
import org.apache.flink.table.types.logical.LocalZonedTimestampType;
import org.apache.flink.table.types.logical.LogicalType;
import org.apache.flink.table.types.logical.MapType;
import org.apache.flink.table.types.logical.NullType;
import org.apache.flink.table.types.logical.RowType;
import org.apache.flink.table.types.logical.SmallIntType;
import org.apache.flink.table.types.logical.TinyIntType;
import org.apache.flink.table.types.logical.VarBinaryType;
import org.apache.flink.table.types.logical.VarCharType;

/**
 * A column type of the platform, from its portable text. {@code parts} are those of a nested one, {@code fields} the
 * names of a struct's; {@code precision} and {@code scale} are of decimals.
 */
record Type(String name, int precision, int scale, List<Type> parts, List<String> fields) {
    static Type of(String text) {
        return new Parser(text).type();
    }

    boolean isList() {
        return name.equals("ARRAY");
    }

    boolean isInteger() {
        return switch (name) {
            case "TINYINT", "SMALLINT", "INT", "BIGINT" -> true;
            default -> false;
        };
    }

    boolean isFloat() {
        return name.equals("FLOAT") || name.equals("DOUBLE");
    }

    /** Of a list its elements' type, which is what operations see. */
    Type element() {
        return isList() ? parts.get(0) : this;
    }

    /** Flink's type of it. Instants within lists and rows are of precision 6. */
    LogicalType logical() {
        return switch (name) {
            case "BOOLEAN" -> new BooleanType();
            case "TINYINT" -> new TinyIntType();
            case "SMALLINT" -> new SmallIntType();
            case "INT" -> new IntType();
            case "BIGINT" -> new BigIntType();
            case "FLOAT" -> new FloatType();
            case "DOUBLE" -> new DoubleType();
            case "STRING" -> VarCharType.STRING_TYPE;
            case "BINARY" -> new VarBinaryType(VarBinaryType.MAX_LENGTH);
            case "DATE" -> new DateType();
            case "TIMESTAMP" -> new LocalZonedTimestampType(6);
            case "DECIMAL" -> new DecimalType(precision, scale);
            case "NULL" -> new NullType();
            case "ARRAY" -> new ArrayType(parts.get(0).logical());
            case "MAP" -> new MapType(parts.get(0).logical(), parts.get(1).logical());
            case "STRUCT" -> row();
            default -> throw new IllegalArgumentException(name + " is not a type");
        };
    }

    private LogicalType row() {
        List<RowType.RowField> found = new ArrayList<>();
        for (int n = 0; n < fields.size(); n++) {
            found.add(new RowType.RowField(fields.get(n), parts.get(n).logical()));
        }
        return new RowType(found);
    }

    /** Reads the text from left to right. */
    private static final class Parser {
        private final String text;
        private int position;

        Parser(String text) {
            this.text = text;
        }

        Type type() {
            String name = until("<>(),:");
            return switch (name) {
                case "DECIMAL" -> decimal();
                case "ARRAY" -> {
                    pass('<');
                    Type element = type();
                    pass('>');
                    yield new Type(name, 0, 0, List.of(element), List.of());
                }
                case "MAP" -> {
                    pass('<');
                    Type key = type();
                    pass(',');
                    Type value = type();
                    pass('>');
                    yield new Type(name, 0, 0, List.of(key, value), List.of());
                }
                case "STRUCT" -> struct();
                default -> new Type(name, 0, 0, List.of(), List.of());
            };
        }

        private Type decimal() {
            pass('(');
            int precision = Integer.parseInt(until(","));
            pass(',');
            int scale = Integer.parseInt(until(")"));
            pass(')');
            return new Type("DECIMAL", precision, scale, List.of(), List.of());
        }

        private Type struct() {
            List<Type> parts = new ArrayList<>();
            List<String> fields = new ArrayList<>();
            pass('<');
            while (text.charAt(position) != '>') {
                fields.add(until(":"));
                pass(':');
                parts.add(type());
                if (text.charAt(position) == ',') {
                    pass(',');
                }
            }
            pass('>');
            return new Type("STRUCT", 0, 0, List.copyOf(parts), List.copyOf(fields));
        }

        private String until(String marks) {
            int first = position;
            while (position < text.length() && marks.indexOf(text.charAt(position)) < 0) {
                position++;
            }
            return text.substring(first, position).strip();
        }

        private void pass(char mark) {
            if (position >= text.length() || text.charAt(position) != mark) {
                throw new IllegalArgumentException(text + " is not a type");
            }
            position++;
        }
    }
}
