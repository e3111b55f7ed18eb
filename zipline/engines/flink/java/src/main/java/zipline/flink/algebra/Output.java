package zipline.flink.algebra;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.ByteOrder;
import java.util.Arrays;

/** Bytes that grow by values, each as the codec writes it. */
final class Output {
    static final VarHandle WORDS = MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);
    private static final double MOST_WHOLE = 1L << 40;

    private byte[] bytes;
    private int size;

    Output(int capacity) {
        bytes = new byte[capacity];
    }

    /** All of it; nothing may be written afterwards. */
    byte[] whole() {
        return size == bytes.length ? bytes : taken();
    }

    byte[] taken() {
        return Arrays.copyOf(bytes, size);
    }

    Bytes value() {
        return Bytes.of(taken());
    }

    void put(int value) {
        room(1);
        bytes[size++] = (byte) value;
    }

    void put(byte[] content) {
        room(content.length);
        System.arraycopy(content, 0, bytes, size, content.length);
        size += content.length;
    }

    /** Eight bytes, the lowest first. */
    void word(long value) {
        room(8);
        WORDS.set(bytes, size, value);
        size += 8;
    }

    void all(long[] words) {
        room(8 * words.length);
        for (long word : words) {
            WORDS.set(bytes, size, word);
            size += 8;
        }
    }

    /** The value as one without a sign. */
    void varint(long value) {
        room(10);
        while ((value & ~0x7FL) != 0) {
            bytes[size++] = (byte) (value & 0x7F | 0x80);
            value >>>= 7;
        }
        bytes[size++] = (byte) value;
    }

    void sized(byte[] content) {
        varint(content.length);
        put(content);
    }

    void none() {
        put(Codec.NONE);
    }

    void truth(boolean value) {
        put(value ? Codec.TRUE : Codec.FALSE);
    }

    void integer(long value) {
        long zigzag = zigzag(value);
        if (zigzag >= 0 && zigzag < Codec.SMALL) {
            put(Codec.SMALL | (int) zigzag);
        } else {
            put(Codec.INT);
            varint(zigzag);
        }
    }

    void integer(BigInteger value) {
        if (value.bitLength() < 64) {
            integer(value.longValue());
            return;
        }
        int shift = value.getLowestSetBit();
        put(Codec.BIG);
        varint(shift);
        sized(value.shiftRight(shift).toByteArray());
    }

    void number(double value) {
        if (Math.abs(value) < MOST_WHOLE && value == (long) value) {
            put(Codec.WHOLE);
            varint(zigzag((long) value));
        } else {
            put(Codec.FLOAT);
            word(Double.doubleToRawLongBits(value));
        }
    }

    void text(Bytes value) {
        put(Codec.TEXT);
        sized(value.content());
    }

    void binary(Bytes value) {
        put(Codec.BYTES);
        sized(value.content());
    }

    void decimal(BigDecimal value) {
        put(Codec.DECIMAL);
        integer(-value.scale());
        integer(value.unscaledValue());
    }

    /** The day with this number, as Python counts them. */
    void date(long ordinal) {
        put(Codec.DATE);
        varint(ordinal);
    }

    void tuple(int length) {
        put(Codec.TUPLE);
        varint(length);
    }

    void dict(int length) {
        put(Codec.DICT);
        varint(length);
    }

    void sketch(int kind, byte[] payload) {
        put(Codec.SKETCH);
        put(kind);
        sized(payload);
    }

    private static long zigzag(long value) {
        return value << 1 ^ value >> 63;
    }

    private void room(int wanted) {
        if (size + wanted > bytes.length) {
            bytes = Arrays.copyOf(bytes, Math.max(2 * bytes.length, size + wanted));
        }
    }
}
