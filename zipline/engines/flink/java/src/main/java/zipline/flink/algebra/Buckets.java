package zipline.flink.algebra;

import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.function.Supplier;

/** One result per bucket, none that is empty; buckets are known by what the codec writes of them. */
final class Buckets extends Ir {
    private final Supplier<Ir> empty;
    private final Map<Bytes, Ir> parts = new HashMap<>();

    Buckets(Supplier<Ir> empty) {
        this.empty = empty;
    }

    /** The result of one bucket; {@link #settle} says that it has taken what there is. */
    Ir part(Bytes bucket) {
        Ir found = parts.get(bucket);
        return found == null ? empty.get() : found;
    }

    void settle(Bytes bucket, Ir part) {
        if (part.isEmpty()) {
            parts.remove(bucket);
        } else {
            parts.put(bucket, part);
        }
    }

    @Override
    void take(int weight, long t, long known, Object value) {
        throw new UnsupportedOperationException("a bucket takes values");
    }

    @Override
    void merge(Ir other) {
        ((Buckets) other).parts.forEach((bucket, part) -> {
            Ir own = part(bucket);
            own.merge(part);
            settle(bucket, own);
        });
    }

    @Override
    boolean isEmpty() {
        return parts.isEmpty();
    }

    @Override
    void write(Output out, boolean stored) {
        Bytes[] buckets = parts.keySet().toArray(new Bytes[0]);
        if (stored) {
            Arrays.sort(buckets);
        }
        out.dict(buckets.length);
        for (Bytes bucket : buckets) {
            out.put(bucket.content());
            parts.get(bucket).write(out, stored);
        }
    }

    @Override
    void read(Input in) {
        for (int left = in.dict(); left > 0; left--) {
            Bytes bucket = in.whole();
            Ir part = empty.get();
            part.read(in);
            parts.put(bucket, part);
        }
    }

    @Override
    Ir copied() {
        Buckets made = new Buckets(empty);
        parts.forEach((bucket, part) -> made.parts.put(bucket, part.copied()));
        return made;
    }
}
