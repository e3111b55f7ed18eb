package zipline.flink.algebra;

import java.util.Arrays;

/**
 * What stands at one end of an order: the k least or greatest values, or those of the k oldest or newest events, ascending.
 * MIN, MAX, FIRST and LAST keep one, and are written without a list around it. BOUNDED_UNIQUE_COUNT keeps each value once.
 */
final class Ends extends Ir {
    /** What an operation keeps. */
    record Form(Values values, int k, boolean isGreatest, boolean isTimed, boolean isDistinct, boolean isOne) {
        static Form of(String operation, Values values, int k) {
            return switch (operation) {
                case "MIN" -> new Form(values, 1, false, false, false, true);
                case "MAX" -> new Form(values, 1, true, false, false, true);
                case "FIRST" -> new Form(values, 1, false, true, false, true);
                case "LAST" -> new Form(values, 1, true, true, false, true);
                case "BOTTOM_K" -> new Form(values, k, false, false, false, false);
                case "TOP_K" -> new Form(values, k, true, false, false, false);
                case "FIRST_K" -> new Form(values, k, false, true, false, false);
                case "LAST_K" -> new Form(values, k, true, true, false, false);
                case "BOUNDED_UNIQUE_COUNT" -> new Form(values, k, false, false, true, false);
                default -> throw new IllegalArgumentException(operation + " is not an operation");
            };
        }
    }

    private final Form form;
    private int size;
    private Object[] kept = {};
    /** Of each its t and when it was known, where that counts. */
    private long[] times = {};

    Ends(Form form) {
        this.form = form;
    }

    @Override
    void take(int weight, long t, long known, Object value) {
        if (size == form.k && isBeyond(t, known, value)) {
            return;
        }
        int place = place(t, known, value);
        if (form.isDistinct && place > 0 && form.values.compare(kept[place - 1], value) == 0) {
            return;
        }
        if (size < form.k) {
            insert(place, t, known, value);
        } else if (form.isGreatest) {
            move(1, 0, place - 1);
            set(place - 1, t, known, value);
        } else {
            move(place, place + 1, size - 1 - place);
            set(place, t, known, value);
        }
    }

    /** Whether one more of these would be left out of a full list. */
    private boolean isBeyond(long t, long known, Object value) {
        int order = compare(form.isGreatest ? 0 : size - 1, t, known, value);
        return form.isGreatest ? order >= 0 : order <= 0;
    }

    /** Behind all that are not greater. */
    private int place(long t, long known, Object value) {
        int low = 0;
        int high = size;
        while (low < high) {
            int middle = low + high >>> 1;
            if (compare(middle, t, known, value) <= 0) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        return low;
    }

    private int compare(int place, long t, long known, Object value) {
        if (form.isTimed) {
            int order = Long.compare(times[2 * place], t);
            order = order == 0 ? Long.compare(times[2 * place + 1], known) : order;
            if (order != 0) {
                return order;
            }
        }
        return form.values.compare(kept[place], value);
    }

    private void insert(int place, long t, long known, Object value) {
        if (size == kept.length) {
            int length = (int) Math.min(form.k, Math.max(4L, 2L * size));
            kept = Arrays.copyOf(kept, length);
            times = form.isTimed ? Arrays.copyOf(times, 2 * length) : times;
        }
        move(place, place + 1, size - place);
        set(place, t, known, value);
        size++;
    }

    private void move(int from, int to, int length) {
        System.arraycopy(kept, from, kept, to, length);
        if (form.isTimed) {
            System.arraycopy(times, 2 * from, times, 2 * to, 2 * length);
        }
    }

    private void set(int place, long t, long known, Object value) {
        kept[place] = value;
        if (form.isTimed) {
            times[2 * place] = t;
            times[2 * place + 1] = known;
        }
    }

    @Override
    void merge(Ir other) {
        Ends more = (Ends) other;
        for (int n = 0; n < more.size; n++) {
            take(1, form.isTimed ? more.times[2 * n] : 0, form.isTimed ? more.times[2 * n + 1] : 0, more.kept[n]);
        }
    }

    @Override
    boolean isEmpty() {
        return size == 0;
    }

    @Override
    void write(Output out, boolean stored) {
        if (!form.isOne) {
            out.tuple(size);
        } else if (size == 0) {
            out.none();
        }
        for (int n = 0; n < size; n++) {
            if (form.isTimed) {
                out.tuple(3);
                out.integer(times[2 * n]);
                out.integer(times[2 * n + 1]);
            }
            form.values.write(out, kept[n]);
        }
    }

    @Override
    void read(Input in) {
        int length = form.isOne ? (in.none() ? 0 : 1) : in.tuple();
        kept = new Object[length];
        times = new long[form.isTimed ? 2 * length : 0];
        for (size = 0; size < length; size++) {
            if (form.isTimed) {
                in.tuple();
            }
            long t = form.isTimed ? in.integer() : 0;
            set(size, t, form.isTimed ? in.integer() : 0, form.values.read(in));
        }
    }

    @Override
    Ir copied() {
        Ends made = new Ends(form);
        made.size = size;
        made.kept = kept.clone();
        made.times = times.clone();
        return made;
    }
}
