package zipline.flink.events;

/** What is no event: why, and where. The path grows from the value outwards while it is thrown. */
class Refused extends Exception {
    private final StringBuilder path;
    private final String reason;

    /** A value that is not of its type. */
    Refused(String reason) {
        this(reason, new StringBuilder());
    }

    private Refused(String reason, StringBuilder path) {
        super(null, null, false, false);
        this.reason = reason;
        this.path = path;
    }

    /** Text that is no JSON: it has no path. */
    static Refused malformed(String reason) {
        return new Refused(reason, null);
    }

    Refused within(String step) {
        if (path != null) {
            path.insert(0, step);
        }
        return this;
    }

    /** The same of the key of a map. */
    Refused asKey() {
        return path == null ? this : new Refused(reason + " as a key");
    }

    String text() {
        return "$" + (path == null ? "" : path) + ": " + reason;
    }

    @Override
    public String getMessage() {
        return text();
    }

    /**
     * A value of its type that the column cannot hold. It counts only where no later field of the same name takes its
     * place, which is found by reading the event once more.
     */
    static final class Unfit extends Refused {
        final String why;

        Unfit(String why) {
            super(why);
            this.why = why;
        }
    }
}
