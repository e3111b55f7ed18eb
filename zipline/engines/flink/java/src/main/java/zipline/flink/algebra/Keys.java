package zipline.flink.algebra;

import java.math.BigDecimal;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Arrays;
import org.apache.flink.table.data.DecimalData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.data.TimestampData;
import org.apache.flink.table.types.logical.LogicalType;

/** Keys as bytes, as {@code zipline/stores/keys.py} has them, and places: a key, a day, a start. */
final class Keys {
    private static final int LONGEST_KEY = 480;
    private static final int LONGEST = LONGEST_KEY - 48;
    private static final int CUT = 0xFF;
    private static final int KEPT = LONGEST_KEY - 96;
    private static final int BEHIND = Integer.BYTES + Long.BYTES;
    private static final long LAST_DAY = 3_652_059;

    /** What the parts of keys are, with their tags; a truth has the tag of its value. */
    enum Kind {
        INTEGER(1),
        FLOAT(2),
        TEXT(3),
        BYTES(4),
        TRUTH(5),
        DAY(7),
        INSTANT(8),
        DECIMAL(9);

        private final int tag;

        Kind(int tag) {
            this.tag = tag;
        }

        static Kind of(LogicalType type) {
            return switch (type.getTypeRoot()) {
                case TINYINT, SMALLINT, INTEGER, BIGINT -> INTEGER;
                case FLOAT, DOUBLE -> FLOAT;
                case CHAR, VARCHAR -> TEXT;
                case BINARY, VARBINARY -> BYTES;
                case BOOLEAN -> TRUTH;
                case DATE -> DAY;
                case TIMESTAMP_WITHOUT_TIME_ZONE, TIMESTAMP_WITH_LOCAL_TIME_ZONE -> INSTANT;
                case DECIMAL -> DECIMAL;
                default -> throw new IllegalArgumentException(type + " is no type of a key");
            };
        }
    }

    private final Kind[] kinds;
    private ByteBuffer buffer = ByteBuffer.allocate(LONGEST_KEY);

    Keys(Kind[] kinds) {
        this.kinds = kinds;
    }

    /** Null where a part is. */
    byte[] place(long width, long t, long available, Object[] key) {
        byte[] found = written(key, BEHIND);
        if (found != null) {
            ByteBuffer.wrap(found)
                    .position(found.length - BEHIND)
                    .putInt((int) Math.floorDiv(available, MicrosFunction.DAY))
                    .putLong(t - Math.floorMod(t, width));
        }
        return found;
    }

    /** The key, with room behind it. */
    private byte[] written(Object[] key, int behind) {
        buffer.clear();
        for (int n = 0; n < kinds.length; n++) {
            if (key[n] == null || !write(kinds[n], key[n])) {
                return null;
            }
        }
        if (kinds.length == 0) {
            put(1).put((byte) 0);
        }
        int length = buffer.position();
        if (length <= LONGEST) {
            return Arrays.copyOf(buffer.array(), length + behind);
        }
        byte[] digest = sha256(buffer.array(), length);
        return ByteBuffer.allocate(1 + KEPT + digest.length + behind)
                .put((byte) CUT)
                .put(buffer.array(), 0, KEPT)
                .put(digest)
                .array();
    }

    /** False where the part is null at the door. */
    private boolean write(Kind kind, Object value) {
        switch (kind) {
            case INTEGER -> word(kind, ((Number) value).longValue() ^ Long.MIN_VALUE);
            case INSTANT -> word(kind, Values.micros((TimestampData) value) ^ Long.MIN_VALUE);
            case FLOAT -> {
                double number = ((Number) value).doubleValue();
                word(kind, Double.doubleToRawLongBits(number + 0.0));
                return number == number;
            }
            case DAY -> {
                long ordinal = (Integer) value + Values.FIRST_DAY;
                word(kind, ordinal);
                return ordinal >= 1 && ordinal <= LAST_DAY;
            }
            case TRUTH -> put(1).put((byte) (kind.tag + ((Boolean) value ? 1 : 0)));
            case TEXT -> sized(kind, ((StringData) value).toBytes());
            case BYTES -> sized(kind, (byte[]) value);
            case DECIMAL -> sized(kind, text(((DecimalData) value).toBigDecimal()));
        }
        return true;
    }

    private static byte[] text(BigDecimal value) {
        return value.stripTrailingZeros().toString().getBytes(StandardCharsets.US_ASCII);
    }

    private void word(Kind kind, long value) {
        put(1 + Long.BYTES).put((byte) kind.tag).putLong(value);
    }

    private void sized(Kind kind, byte[] content) {
        put(1 + Integer.BYTES + content.length).put((byte) kind.tag).putInt(content.length).put(content);
    }

    /** The buffer, with room for so many bytes. */
    private ByteBuffer put(int length) {
        if (buffer.remaining() < length) {
            int wanted = buffer.position() + length;
            buffer = ByteBuffer.allocate(Math.max(wanted, 2 * buffer.capacity())).put(buffer.flip());
        }
        return buffer;
    }

    private static byte[] sha256(byte[] content, int length) {
        try {
            MessageDigest digest = MessageDigest.getInstance("SHA-256");
            digest.update(content, 0, length);
            return digest.digest();
        } catch (NoSuchAlgorithmException impossible) {
            throw new IllegalStateException(impossible);
        }
    }
}
