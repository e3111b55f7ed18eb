package zipline.flink.tiles;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;
import java.util.Arrays;

/** Where a tile belongs, as bytes that are a key. */
final class Place {
    private static final VarHandle WORDS = MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);

    final byte[] bytes;
    private final int hash;

    Place(byte[] bytes) {
        this.bytes = bytes;
        this.hash = hash(bytes);
    }

    /** Eight bytes at a time; of all bits each depends on all bytes. It tells which task has the place: it never changes. */
    private static int hash(byte[] bytes) {
        long found = bytes.length;
        int at = 0;
        for (; at + Long.BYTES <= bytes.length; at += Long.BYTES) {
            found = mixed(found ^ (long) WORDS.get(bytes, at));
        }
        long rest = 0;
        for (; at < bytes.length; at++) {
            rest = rest << Byte.SIZE | bytes[at] & 0xFF;
        }
        found = mixed(mixed(found ^ rest));
        return (int) found;
    }

    private static long mixed(long value) {
        long found = value * 0x9E3779B97F4A7C15L;
        return found ^ found >>> 32;
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof Place place && hash == place.hash && Arrays.equals(bytes, place.bytes);
    }

    @Override
    public int hashCode() {
        return hash;
    }
}
