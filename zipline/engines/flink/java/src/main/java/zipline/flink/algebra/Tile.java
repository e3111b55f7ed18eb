package zipline.flink.algebra;

/**
 * The partial of one place, which takes its events: the words of a record of {@code zipline/algebra/layout.py}, and the
 * intermediate results that have no fixed size.
 */
public final class Tile {
    private static final Ir[] NONE = {};

    final Spec spec;
    final long[] words;
    final Ir[] irs;

    Tile(Spec spec) {
        this(spec, new long[spec.words], irs(spec));
        words[Spec.WIDTH] = spec.width;
        for (int n = 0; n < irs.length; n++) {
            irs[n] = spec.reductions[n].empty();
        }
        words[Spec.START] = Long.MIN_VALUE;
    }

    private static Ir[] irs(Spec spec) {
        return spec.reductions.length == 0 ? NONE : new Ir[spec.reductions.length];
    }

    private Tile(Spec spec, long[] words, Ir[] irs) {
        this.spec = spec;
        this.words = words;
        this.irs = irs;
    }

    /**
     * One event, or with a weight of -1 its reversal. Columns are those of the spec as Flink has them inside; times are
     * microseconds, and {@code known} is null where there is no second clock.
     */
    public void take(int weight, long t, Long known, Object[] columns) {
        long since = known == null ? t : known;
        if (words[Spec.START] == Long.MIN_VALUE) {
            words[Spec.START] = t - Math.floorMod(t, spec.width);
        }
        words[Spec.EVENTS] += weight;
        if (spec.rows > 0) {
            words[spec.rows]++;
        }
        for (Words states : spec.states) {
            states.take(words, weight, t, since, columns);
        }
        for (int n = 0; n < irs.length; n++) {
            spec.reductions[n].take(irs[n], weight, t, since, columns);
        }
    }

    /** The record as little-endian words, and the intermediate results as a store keeps them, one behind the other. */
    public byte[] encoded() {
        Output out = new Output(8 * words.length + (irs.length == 0 ? 0 : 256));
        out.all(words);
        write(out, true);
        return out.whole();
    }

    /** Adds all that another tile of the place has taken. */
    void merge(Tile other) {
        if (words[Spec.START] == Long.MIN_VALUE) {
            words[Spec.START] = other.words[Spec.START];
        }
        words[Spec.EVENTS] += other.words[Spec.EVENTS];
        if (spec.rows > 0) {
            words[spec.rows] += other.words[spec.rows];
        }
        for (Words states : spec.states) {
            states.merge(words, other.words);
        }
        for (int n = 0; n < irs.length; n++) {
            irs[n].merge(other.irs[n]);
        }
    }

    Tile copied() {
        Tile made = new Tile(spec, words.clone(), irs(spec));
        for (int n = 0; n < irs.length; n++) {
            made.irs[n] = irs[n].copied();
        }
        return made;
    }

    void write(Output out, boolean stored) {
        for (Ir ir : irs) {
            ir.write(out, stored);
        }
    }

    void read(Input in) {
        for (Ir ir : irs) {
            ir.read(in);
        }
    }
}
