package zipline.flink.algebra;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.util.Arrays;

/** A position in what {@link Output} wrote. Its reader knows what comes next, and is told where that is not so. */
final class Input {
    private final byte[] bytes;
    private int position;

    Input(byte[] bytes) {
        this.bytes = bytes;
    }

    /** The tag of the next value, which stays there. */
    int tag() {
        return bytes[position] & 0xFF;
    }

    boolean none() {
        boolean found = bytes[position] == Codec.NONE;
        position += found ? 1 : 0;
        return found;
    }

    boolean truth() {
        return bytes[position++] == Codec.TRUE;
    }

    long integer() {
        int tag = bytes[position++] & 0xFF;
        if (tag >= Codec.SMALL) {
            return unzigzag(tag & 0x7F);
        }
        require(tag, Codec.INT);
        return unzigzag(varint());
    }

    BigInteger big() {
        if (bytes[position] != Codec.BIG) {
            return BigInteger.valueOf(integer());
        }
        position++;
        int shift = (int) varint();
        return new BigInteger(sized()).shiftLeft(shift);
    }

    double number() {
        int tag = bytes[position++];
        if (tag == Codec.WHOLE) {
            return unzigzag(varint());
        }
        require(tag, Codec.FLOAT);
        return Double.longBitsToDouble(word());
    }

    Bytes text() {
        require(bytes[position++], Codec.TEXT);
        return Bytes.of(sized());
    }

    Bytes binary() {
        require(bytes[position++], Codec.BYTES);
        return Bytes.of(sized());
    }

    BigDecimal decimal() {
        require(bytes[position++], Codec.DECIMAL);
        int scale = (int) -integer();
        return new BigDecimal(big(), scale);
    }

    long date() {
        require(bytes[position++], Codec.DATE);
        return varint();
    }

    int tuple() {
        require(bytes[position++], Codec.TUPLE);
        return (int) varint();
    }

    int dict() {
        require(bytes[position++], Codec.DICT);
        return (int) varint();
    }

    byte[] sketch(int kind) {
        require(bytes[position++], Codec.SKETCH);
        require(bytes[position++], kind);
        return sized();
    }

    /** The next value as it is written. */
    Bytes whole() {
        int first = position;
        skip();
        return Bytes.of(Arrays.copyOfRange(bytes, first, position));
    }

    long word() {
        long value = (long) Output.WORDS.get(bytes, position);
        position += 8;
        return value;
    }

    void all(long[] words) {
        for (int n = 0; n < words.length; n++) {
            words[n] = word();
        }
    }

    private void skip() {
        int tag = bytes[position++] & 0xFF;
        switch (tag) {
            case Codec.INT, Codec.WHOLE, Codec.DATE -> varint();
            case Codec.BIG -> {
                varint();
                sized();
            }
            case Codec.FLOAT -> position += 8;
            case Codec.TEXT, Codec.BYTES -> sized();
            case Codec.DECIMAL -> skip(2);
            case Codec.TUPLE -> skip(varint());
            case Codec.DICT -> skip(2 * varint());
            case Codec.SKETCH -> {
                position++;
                sized();
            }
            default -> {}
        }
    }

    private void skip(long values) {
        for (long n = 0; n < values; n++) {
            skip();
        }
    }

    private byte[] sized() {
        int length = (int) varint();
        position += length;
        return Arrays.copyOfRange(bytes, position - length, position);
    }

    private long varint() {
        long value = 0;
        for (int shift = 0; ; shift += 7) {
            byte next = bytes[position++];
            value |= (next & 0x7FL) << shift;
            if (next >= 0) {
                return value;
            }
        }
    }

    private static long unzigzag(long value) {
        return value >>> 1 ^ -(value & 1);
    }

    private static void require(int found, int wanted) {
        if (found != wanted) {
            throw new IllegalStateException("a tile's state has " + found + " where " + wanted + " is to be");
        }
    }
}
