package tokenseal

import (
	"errors"
	"strings"
	"testing"
)

type longShape struct {
	Begins, Repeats, Ends, Claim string
	IsTaken                      bool `json:"is_taken"`
}

func (s longShape) text(length int) string {
	return s.Begins + strings.Repeat(s.Repeats, length/len(s.Repeats)) + s.Ends
}

func TestLongTextsAndKeysOfAnyShapeAreTakenForTheSameInEveryLanguage(t *testing.T) {
	var table struct {
		Length      int
		Texts, Keys []longShape
	}
	readShared(t, "long.json", &table)
	for _, shape := range table.Texts {
		claim, err := detect(shape.text(table.Length))
		if shape.Claim == "refused" {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(shape, claim, err)
			}
		} else if err != nil || claim != formPlaintext {
			t.Fatal(shape, claim, err)
		}
	}
	for _, shape := range table.Keys {
		key := shape.text(table.Length)
		text, err := canonicalText("id", "", key)
		if isTaken := err == nil && text == key; isTaken != shape.IsTaken {
			t.Fatal(shape, err)
		}
	}
}
