package tokenseal

import (
	"fmt"
	"slices"
	"strings"
)

// fields are the fields of one parsed object, taken out one by one; the first problem is kept.
type fields struct {
	rest map[string]any
	what string
	err  error
}

func newFields(parsed any, what string) *fields {
	object, ok := parsed.(map[string]any)
	if !ok {
		return &fields{what: what, err: configuration(what + " is not a table of fields")}
	}
	rest := make(map[string]any, len(object))
	for name, value := range object {
		if value != nil {
			rest[name] = value
		}
	}
	return &fields{rest: rest, what: what}
}

func (f *fields) optional(name string) (any, bool) {
	value, ok := f.rest[name]
	delete(f.rest, name)
	return value, ok
}

func (f *fields) skip(names ...string) {
	for _, name := range names {
		delete(f.rest, name)
	}
}

func (f *fields) optionalText(name string) string {
	value, ok := f.optional(name)
	text, isText := value.(string)
	if ok && (!isText || text == "") {
		f.wrong(name, "text")
	}
	return text
}

func (f *fields) text(name string) string {
	text := f.optionalText(name)
	if text == "" {
		f.wrong(name, "text")
	}
	return text
}

// choice is one of some words; the first, if the field is missing.
func (f *fields) choice(name string, choices []string) string {
	value := f.optionalText(name)
	if value == "" {
		return choices[0]
	}
	if !slices.Contains(choices, value) {
		f.wrong(name, "one of "+strings.Join(choices, ", "))
	}
	return value
}

func (f *fields) items(name string) []any {
	value, ok := f.optional(name)
	switch items := value.(type) {
	case []any:
		return items
	case []map[string]any:
		var out []any
		for _, item := range items {
			out = append(out, item)
		}
		return out
	}
	if ok {
		f.wrong(name, "a list")
	}
	return nil
}

func (f *fields) texts(name string) []string {
	var texts []string
	for _, item := range f.items(name) {
		text, ok := item.(string)
		if !ok || text == "" {
			f.wrong(name, "a list of names")
		}
		texts = append(texts, text)
	}
	return texts
}

func (f *fields) textsByName(name string) map[string]string {
	value, ok := f.optional(name)
	object, isObject := value.(map[string]any)
	if ok && !isObject {
		f.wrong(name, "a table of texts")
	}
	texts := make(map[string]string, len(object))
	for key, item := range object {
		text, isText := item.(string)
		if !isText || key == "" {
			f.wrong(name, "a table of texts")
		}
		texts[key] = text
	}
	return texts
}

// has says whether a field is given.
func (f *fields) has(name string) bool {
	_, ok := f.rest[name]
	return ok
}

// finish refuses the remaining fields.
func (f *fields) finish() error {
	for name := range f.rest {
		if f.err == nil {
			f.err = configuration(fmt.Sprintf("%s has a field %q that this version does not know", f.what, name))
		}
	}
	return f.err
}

func (f *fields) wrong(name, expected string) {
	if f.err == nil {
		f.err = configuration(fmt.Sprintf("field %q of %s must be %s", name, f.what, expected))
	}
}
