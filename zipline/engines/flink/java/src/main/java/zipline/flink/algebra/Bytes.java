package zipline.flink.algebra;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/** Bytes as a value: text in UTF-8, binary, or a value as the codec writes it. In order they are as Python's. */
record Bytes(byte[] content, int hash) implements Comparable<Bytes> {
    static Bytes of(byte[] content) {
        return new Bytes(content, Arrays.hashCode(content));
    }

    String text() {
        return new String(content, StandardCharsets.UTF_8);
    }

    /** One character a byte. */
    String latin() {
        return new String(content, StandardCharsets.ISO_8859_1);
    }

    @Override
    public int compareTo(Bytes other) {
        return Arrays.compareUnsigned(content, other.content);
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof Bytes bytes && hash == bytes.hash && Arrays.equals(content, bytes.content);
    }

    @Override
    public int hashCode() {
        return hash;
    }
}
