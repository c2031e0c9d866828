package tokenseal

import (
	"fmt"
	"slices"
)

// form is how a text is stored: by its row's version where the table has version columns, else by its mark.
func (s *Sealer) form(layout *table, text string, version any) (form, error) {
	contradiction := malformed("the text contradicts the row's encryption version")
	if layout.version != nil && version != nil {
		found, err := formByVersion(text, versionNumber(version))
		if err == nil && found == formOther {
			err = contradiction
		}
		return found, err
	}
	found, err := s.formByMark(layout, text)
	switch {
	case err != nil:
		return 0, err
	case layout.version != nil && found != formEnvelope:
		return 0, refused(
			fmt.Sprintf("table %q has version columns: pass the row's version to read this value", layout.name))
	case layout.version != nil || version == nil:
		return found, nil
	}
	number := versionNumber(version)
	switch {
	case number < 0:
		return 0, malformed("the row's encryption version is unknown")
	case found != []form{formPlaintext, formDirect, formEnvelope}[number]:
		return 0, contradiction
	}
	return found, nil
}

func (s *Sealer) formByMark(layout *table, text string) (form, error) {
	isDirect := s.profile.unmarked == "direct-aes" && layout.version == nil
	if layout.version == nil && !isDirect && onlyBeginsLikeOne(text) {
		return formPlaintext, nil
	}
	found, err := detect(text)
	if err == nil && found == formPlaintext && isDirect {
		return formDirect, nil
	}
	return found, err
}

// formByVersion is formOther where the text contradicts its row's version.
func formByVersion(text string, version int) (form, error) {
	strong := isEnvelope(text)
	switch {
	case version < 0:
		return 0, malformed("the row's encryption version is unknown")
	case version == 2 && strong:
		return detect(text)
	case version == 1 && !strong:
		return formDirect, nil
	case version == 0:
		found, err := detect(text)
		// A mark on a text that is nothing of the kind: the column is believed.
		if err != nil && !isBrokenEnvelope(text) || err == nil && found == formPlaintext {
			return formPlaintext, nil
		}
	}
	return formOther, nil
}

// versionNumber is 0, 1 or 2, or -1 for what no row can say.
func versionNumber(version any) int {
	if _, isNull := version.(null); isNull {
		return 0
	}
	switch value := normalized(version).(type) {
	case nil:
		return 0
	case int64, uint64, string:
		return slices.Index([]string{"0", "1", "2"}, fmt.Sprint(value))
	}
	return -1
}
