package tokenseal

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// longestDuration is the longest span that a setting can name: 100 years of 365.25 days, as in the programs.
const longestDuration = 3_155_760_000 * time.Second

var (
	secondsText  = regexp.MustCompile(`^[0-9]+$`)
	durationText = regexp.MustCompile(`^([0-9][0-9\s]*(\.\s*[0-9][0-9\s]*)?[a-zA-Zµ]+\s*)+$`)
	durationPart = regexp.MustCompile(`([0-9][0-9.\s]*)([a-zA-Zµ]+)`)
	spaces       = regexp.MustCompile(`\s`)

	units = unitsByName(map[string]time.Duration{
		"nanos nsec ns": time.Nanosecond, "usec us µs": time.Microsecond, "millis msec ms": time.Millisecond,
		"seconds second secs sec s": time.Second, "minutes minute mins min m": time.Minute,
		"hours hour hrs hr h": time.Hour, "days day d": 24 * time.Hour, "weeks week wks wk w": 7 * 24 * time.Hour,
		"months month M": 2_630_016 * time.Second, "years year yrs yr y": 31_557_600 * time.Second,
	})
)

func unitsByName(spellings map[string]time.Duration) map[string]time.Duration {
	units := map[string]time.Duration{}
	for names, unit := range spellings {
		for _, name := range strings.Fields(names) {
			units[name] = unit
		}
	}
	return units
}

// parseDuration reads 250ms, 90s, 5m, 1h 30m, 7d, or digits alone for seconds. The programs
// read the spans of clients/shared/durations.json alike.
func parseDuration(text string) (time.Duration, bool) {
	text = strings.TrimSpace(text)
	if secondsText.MatchString(text) {
		text += "s"
	}
	if !durationText.MatchString(text) {
		return 0, false
	}
	total := 0.0
	for _, part := range durationPart.FindAllStringSubmatch(text, -1) {
		number, err := strconv.ParseFloat(spaces.ReplaceAllString(part[1], ""), 64)
		unit, known := units[part[2]]
		if err != nil || !known {
			return 0, false
		}
		total += number * float64(unit)
	}
	if total > float64(longestDuration) {
		return 0, false
	}
	return time.Duration(total), true
}
