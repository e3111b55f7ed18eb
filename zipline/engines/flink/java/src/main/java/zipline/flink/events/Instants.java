package zipline.flink.events;

import static zipline.flink.events.Text.isDigit;

/** ISO 8601 as the intake takes it. */
final class Instants {
    static final long FIRST = -62_135_596_800_000_000L;
    static final long LAST = 253_402_300_799_999_999L;
    private static final long SECOND = 1_000_000;
    private static final int[] MONTHS = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    private static final int[] SCALE = {0, 100_000, 10_000, 1_000, 100, 10, 1};
    private static final long NONE = Long.MIN_VALUE;

    private Instants() {}

    /**
     * Microseconds of {@code 2024-05-05T10:00:00.123456+02:00}: a T, a t or a space, any number of digits of a second,
     * of which six count, an offset with or without a colon; none is UTC, and so is what ends at a NUL.
     */
    static long micros(byte[] b, int from, int to) throws Refused {
        long days = to - from < 19 ? NONE : civil(b, from);
        if (days == NONE || (b[from + 10] != 'T' && b[from + 10] != 't' && b[from + 10] != ' ')) {
            throw wrong();
        }
        int hour = two(b, from + 11);
        int minute = two(b, from + 14);
        int second = two(b, from + 17);
        if (b[from + 13] != ':' || b[from + 16] != ':' || hour < 0 || minute < 0 || second < 0
                || hour > 23 || minute > 59 || second > 59) {
            throw wrong();
        }
        int i = from + 19;
        long micros = ((days * 24 + hour) * 60 + minute) * 60 * SECOND + second * SECOND;
        if (i < to && b[i] == '.') {
            int point = ++i;
            int value = 0;
            for (; i < to && i < point + 6 && isDigit(b[i]); i++) {
                value = value * 10 + (b[i] - '0');
            }
            if (i == point) {
                throw wrong();
            }
            micros += (long) value * SCALE[i - point];
            while (i < to && isDigit(b[i])) {
                i++;
            }
        }
        if (i == to || b[i] == 0) {
            return micros;
        }
        micros -= offset(b, i, to) * 60 * SECOND;
        if (micros < FIRST || micros > LAST) {
            throw new Refused.Unfit("is outside the years 1 to 9999");
        }
        return micros;
    }

    /** Minutes east of Greenwich. */
    private static long offset(byte[] b, int sign, int to) throws Refused {
        int i = sign + 1;
        if (b[sign] == 'Z' || b[sign] == 'z') {
            if (i != to) {
                throw wrong();
            }
            return 0;
        }
        if ((b[sign] != '+' && b[sign] != '-') || to - i < 3) {
            throw wrong();
        }
        int hours = two(b, i);
        i += b[i + 2] == ':' ? 3 : 2;
        int minutes = to - i == 2 ? two(b, i) : -1;
        if (hours < 0 || minutes < 0 || hours > 23 || minutes > 59) {
            throw wrong();
        }
        return (b[sign] == '-' ? -1 : 1) * (hours * 60 + minutes);
    }

    /** Days since 1970 of {@code 2024-05-05}. */
    static int day(byte[] b, int from, int to) throws Refused {
        long days = to - from == 10 ? civil(b, from) : NONE;
        if (days == NONE) {
            throw new Refused("Invalid RFC3339 encoded date");
        }
        return (int) days;
    }

    private static long civil(byte[] b, int from) {
        int century = two(b, from);
        int rest = two(b, from + 2);
        int month = two(b, from + 5);
        int day = two(b, from + 8);
        if (century < 0 || rest < 0 || month < 1 || month > 12 || day < 1 || b[from + 4] != '-' || b[from + 7] != '-') {
            return NONE;
        }
        int year = century * 100 + rest;
        boolean isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        int last = month == 2 ? isLeap ? 29 : 28 : 30 + (month + month / 8) % 2;
        if (year == 0 || day > last) {
            return NONE;
        }
        int before = year - 1;
        int leaps = before / 4 - before / 100 + before / 400;
        return before * 365L + leaps + MONTHS[month - 1] + (isLeap && month > 2 ? 1 : 0) + day - 719_163;
    }

    private static int two(byte[] b, int i) {
        int tens = b[i] - '0';
        int ones = b[i + 1] - '0';
        return tens < 0 || tens > 9 || ones < 0 || ones > 9 ? -1 : tens * 10 + ones;
    }

    private static Refused wrong() {
        return new Refused("Invalid RFC3339 encoded datetime");
    }
}
