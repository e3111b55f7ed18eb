package zipline.flink.algebra;

/**
 * The intermediate result of one operation, which changes in place. Values that it takes are clean, and a weight is 1, or
 * -1 where rows are taken back.
 */
abstract class Ir {
    abstract void take(int weight, long t, long known, Object value);

    /** Adds all that {@code other}, which is of the same operation, has taken, without altering it. */
    abstract void merge(Ir other);

    /** Whether it equals the result of no values. */
    abstract boolean isEmpty();

    /**
     * Writes it as the algebra has it. To be {@code stored} it is in the one form that equal results have, and bounded as
     * a store keeps it; else it only is whole.
     */
    abstract void write(Output out, boolean stored);

    /** Reads what {@link #write} wrote in place of the empty result that this is. */
    abstract void read(Input in);

    abstract Ir copied();
}
