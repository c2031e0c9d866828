package tokenseal

import "maps"

// binding is the identity of a cell, under the names and in the texts that values are bound to.
type binding struct {
	table, column string
	key, owner    []pair
}

// canonical is the one encoding of the cell, as in docs/formats.md; empty values are kept.
func (b binding) canonical() ([]byte, error) {
	if b.table == "" || b.column == "" {
		return nil, refused("a table and a column must have names")
	}
	out, err := appendText(nil, b.table, "the table's name")
	if err == nil {
		out, err = appendText(out, b.column, "the column's name")
	}
	if err == nil {
		out, err = appendPairs(out, b.key)
	}
	if err == nil {
		out, err = appendPairs(out, b.owner)
	}
	if err != nil {
		return nil, err
	}
	return bounded(out)
}

// encryptionContext is a context, and its canonical encoding for the cache.
type encryptionContext struct {
	pairs     map[string]string
	canonical []byte
}

// boundContext is the encryption context of a bound version 2 value: base, owner, table, column and key.
func (b binding) boundContext(base []pair) (encryptionContext, error) {
	cell := []pair{{"table", b.table}, {"column", b.column}}
	return newContext(base, cell, b.owner, b.key)
}

// plainContext is the encryption context that other programs write: base and owner.
func (b binding) plainContext(base []pair) (encryptionContext, error) {
	return newContext(base, b.owner)
}

// newContext leaves out a pair with an empty value, because AWS KMS takes none.
func newContext(parts ...[]pair) (encryptionContext, error) {
	var present []pair
	for _, part := range parts {
		for _, each := range part {
			if each.value != "" {
				present = append(present, each)
			}
		}
	}
	canonical, err := appendPairs(nil, present)
	if err != nil {
		return encryptionContext{}, err
	}
	pairs := make(map[string]string, len(present))
	for _, each := range present {
		pairs[each.name] = each.value
	}
	return encryptionContext{pairs, canonical}, nil
}

func pairsOf(values map[string]string) []pair {
	var pairs []pair
	for name, value := range maps.All(values) {
		pairs = append(pairs, pair{name, value})
	}
	return pairs
}
