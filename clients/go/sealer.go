package tokenseal

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

const method = "kms-envelope"

// Config configures a [Sealer]. Fields that are left out are read from the environment, under the programs' names, which are
// given in brackets.
type Config struct {
	// KeyID is the key that new data keys are wrapped under: alias/…, an ARN or an id (KMS_KEY_ID).
	KeyID string
	// AllowedKeys are further keys whose data keys may be unwrapped (KMS_ALLOWED_KEYS where it is nil).
	AllowedKeys []string
	// Profile describes the tables (TOKEN_PROFILE, ENCRYPTION_CONTEXT; vod-tender).
	Profile *Profile
	// EnvelopeFormat is v2 or v3 (ENVELOPE_FORMAT; v2).
	EnvelopeFormat string
	// Binding is accept-unbound, require or off (BINDING; accept-unbound).
	Binding string
	// PlaintextPolicy is allow, allow-read or forbid (PLAINTEXT_POLICY; allow).
	PlaintextPolicy string
	// Floor is any, envelope or bound (READ_FLOOR; the profile's). Binding require with PlaintextPolicy forbid means bound.
	Floor string
	// Suite of version 3 is aes-256-gcm or chacha20-poly1305; the former if left out.
	Suite string
	// EncryptionKey is base64 of 32 bytes, to read direct AES (ENCRYPTION_KEY).
	EncryptionKey string
	// CacheTTL is how long an unwrapped data key is kept; negative: not at all (DEK_CACHE_TTL; 5m).
	CacheTTL time.Duration
	// CacheMax is how many are kept; negative: none (DEK_CACHE_MAX; 10,000).
	CacheMax int
	// Legacy opens values that are no envelopes in tables without version columns. Without it, that is refused.
	Legacy func(ctx context.Context, text string, cell LegacyCell) (string, error)
}

// Cell names a cell of a table.
type Cell struct {
	Table, Column string
	// Row has every key column of the table; Owner every owner column, nil for NULL.
	Row, Owner map[string]any
	// Version is the row's encryption_version: an integer, a text, or what database/sql scans into. Nil means that it is
	// not given, and only envelopes open; [Null], a nil pointer and an invalid sql.Null… are NULL.
	Version any
	// KeyID is the row's encryption_key_id, if it names one: one that is not allowed is refused before any call.
	KeyID string
}

type null struct{}

// Null is a [Cell.Version] that is NULL.
var Null = null{}

// LegacyCell is where a text of an older format is; keys and owners in the database's text, a nil owner for NULL.
type LegacyCell struct {
	Table, Column string
	Row           map[string]string
	Owner         map[string]*string
}

// Sealed is a sealed value, and the values of the row's version columns for the same statement.
type Sealed struct {
	Text string
	// KeyID is empty for the empty string, which has no key.
	KeyID   string
	Version int
	Method  string
}

// Sealer seals and opens values under AWS KMS data keys. It may be used from several goroutines.
type Sealer struct {
	profile                           *Profile
	keys                              *keyService
	format, binding, plaintext, floor string
	suite                             uint16
	direct                            []byte
	legacy                            func(context.Context, string, LegacyCell) (string, error)
	base                              []pair
	baseContext                       encryptionContext
	cache                             *dataKeyCache
}

// New makes a sealer.
func New(kms KMS, config Config) (*Sealer, error) {
	s := &Sealer{legacy: config.Legacy, suite: suiteAES}
	var err error
	keep := func(problem error) {
		if err == nil {
			err = problem
		}
	}
	set := func(target *string, value, name string, choices []string, standard string) {
		chosen, problem := choice(value, name, choices, standard)
		*target = chosen
		keep(problem)
	}
	profile, problem := configuredProfile(config.Profile)
	if problem != nil {
		return nil, problem
	}
	s.profile = profile
	set(&s.format, config.EnvelopeFormat, "ENVELOPE_FORMAT", envelopeFormats, "v2")
	set(&s.binding, config.Binding, "BINDING", bindings, "accept-unbound")
	set(&s.plaintext, config.PlaintextPolicy, "PLAINTEXT_POLICY", plaintextPolicies, "allow")
	set(&s.floor, config.Floor, "READ_FLOOR", floors, profile.floor)
	if s.binding == "require" && s.plaintext == "forbid" {
		// Nothing weaker than a bound envelope is left to read, under any floor.
		s.floor = "bound"
	}
	s.direct, problem = directKey(config.EncryptionKey)
	keep(problem)
	ttl, problem := cacheTTL(config.CacheTTL)
	keep(problem)
	maximum, problem := cacheMax(config.CacheMax)
	keep(problem)
	s.cache = newCache(ttl, maximum)
	s.base = pairsOf(profile.context)
	s.baseContext, problem = newContext(s.base)
	keep(problem)
	if config.Suite != "" && !slices.Contains(suites, config.Suite) {
		keep(configuration("Suite must be one of " + strings.Join(suites, ", ")))
	} else if config.Suite == suites[1] {
		s.suite = suiteChaCha
	}
	if s.binding == "off" && (s.format == "v3" || s.floor == "bound") {
		keep(configuration("BINDING=off writes unbound values: not with ENVELOPE_FORMAT=v3 or the floor 'bound'"))
	}
	if err == nil {
		s.keys, err = configuredKeys(kms, config)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

func configuredKeys(kms KMS, config Config) (*keyService, error) {
	if kms == nil {
		return nil, configuration("no KMS client is given")
	}
	key, err := configuredKey(config.KeyID)
	if err != nil {
		return nil, err
	}
	allowed, err := allowedKeys(config.AllowedKeys)
	if err != nil {
		return nil, err
	}
	return newKeyService(kms, key, allowed)
}

// String hides the keys from package fmt.
func (s *Sealer) String() string { return fmt.Sprintf("Sealer(%s)", s.profile.name) }

// GoString hides the keys from %#v.
func (s *Sealer) GoString() string { return s.String() }

// Profile is the profile that the sealer works with.
func (s *Sealer) Profile() *Profile { return s.profile }

// Open opens the text of a cell; the empty string stays empty, and NULL is the caller's to leave as it is.
func (s *Sealer) Open(ctx context.Context, text string, cell Cell) (string, error) {
	layout, bound, err := s.cell(cell)
	if err != nil || text == "" {
		return "", err
	}
	if !utf8.ValidString(text) {
		return "", malformed("the stored text is not UTF-8 text")
	}
	found, err := s.form(layout, text, cell.Version)
	switch {
	case err != nil:
		return "", err
	case found == formEnvelope:
		return s.openEnvelope(ctx, text, cell.KeyID, bound)
	case s.floor != "any":
		return "", refused(fmt.Sprintf("the value is below the floor '%s': it is no envelope", s.floor))
	case found == formDirect:
		return s.openDirect(text)
	case found == formPlaintext && s.plaintext == "forbid":
		return "", refused("the value is plaintext, and plaintext is forbidden")
	case found == formPlaintext && cell.Version != nil:
		return text, nil
	}
	return s.openLegacy(ctx, text, layout, cell.Column, bound)
}

// Seal seals a value for a cell under a data key of its own. Nothing weaker is ever returned in its place.
func (s *Sealer) Seal(ctx context.Context, value string, cell Cell) (Sealed, error) {
	_, bound, err := s.cell(cell)
	if err != nil {
		return Sealed{}, err
	}
	if !utf8.ValidString(value) {
		return Sealed{}, refused("the value is not UTF-8 text")
	}
	if len(value) > maxPlaintextLen {
		return Sealed{}, refused(fmt.Sprintf("the value is over %d bytes long", maxPlaintextLen))
	}
	if value == "" {
		return Sealed{Version: 2, Method: method}, nil
	}
	text, keyID, err := s.seal(ctx, value, bound)
	if err != nil {
		return Sealed{}, err
	}
	return Sealed{text, keyID, 2, method}, nil
}

func (s *Sealer) seal(ctx context.Context, value string, bound binding) (text, keyID string, err error) {
	wrapContext := s.baseContext
	switch {
	case s.format == "v3" && s.suite == suiteChaCha && newChaCha == nil:
		return "", "", unsupported("the ChaCha20-Poly1305 suite needs the package tokenseal/chacha")
	case s.format == "v3":
	case s.binding == "off":
		wrapContext, err = bound.plainContext(s.base)
	default:
		wrapContext, err = bound.boundContext(s.base)
	}
	if err != nil {
		return "", "", err
	}
	key, err := s.keys.generate(ctx, wrapContext)
	if err != nil {
		return "", "", err
	}
	defer clear(key.Plaintext)
	if s.format == "v3" {
		messageID := make([]byte, 32)
		rand.Read(messageID) // never fails (crypto/rand)
		text, err = sealV3(s.suite, key.Plaintext, key.Wrapped, bound, []byte(value), messageID)
	} else {
		text, err = sealV2(key.Plaintext, key.Wrapped, []byte(value))
	}
	return text, key.KeyID, err
}

// ClearCache forgets every unwrapped data key.
func (s *Sealer) ClearCache() { s.cache.clear() }

func (s *Sealer) cell(cell Cell) (*table, binding, error) {
	layout, err := s.profile.table(cell.Table)
	if err != nil {
		return nil, binding{}, err
	}
	if !slices.Contains(layout.tokens, cell.Column) {
		return nil, binding{}, refused(
			fmt.Sprintf("table %q has no token column %q in the profile", cell.Table, cell.Column))
	}
	key, err := identity(layout, "Row", layout.key, cell.Row)
	if err != nil {
		return nil, binding{}, err
	}
	owner, err := identity(layout, "Owner", layout.owner, cell.Owner)
	if err != nil {
		return nil, binding{}, err
	}
	bound := binding{layout.boundAs, layout.boundColumn(cell.Column), key, owner}
	_, err = bound.canonical() // for its limits
	return layout, bound, err
}

// identity is the names and canonical texts of the key or the owner columns: all of them, and no others.
func identity(layout *table, what string, columns []string, given map[string]any) ([]pair, error) {
	wrong := len(given) != len(columns)
	for _, column := range columns {
		_, ok := given[column]
		wrong = wrong || !ok
	}
	if wrong {
		expected := strings.Join(columns, ", ")
		return nil, refused(fmt.Sprintf("%s of table %q must give exactly these columns: %s", what, layout.name, expected))
	}
	var pairs []pair
	for _, column := range columns {
		text := ""
		if normalized(given[column]) != nil {
			var err error
			if text, err = canonicalText(column, layout.types[column], given[column]); err != nil {
				return nil, err
			}
		} else if what == "Row" {
			return nil, refused(fmt.Sprintf("key column %q is NULL, which no row can be named by", column))
		}
		pairs = append(pairs, pair{layout.boundColumn(column), text})
	}
	return pairs, nil
}

func (s *Sealer) openEnvelope(ctx context.Context, text, claim string, bound binding) (string, error) {
	pins, err := s.keys.pins(ctx, claim)
	if err != nil {
		return "", err
	}
	var plaintext []byte
	if strings.HasPrefix(text, v3Mark) {
		plaintext, err = s.openV3(ctx, text, pins, bound)
	} else {
		plaintext, err = s.openV2(ctx, text, pins, bound)
	}
	if err != nil {
		return "", err
	}
	return openedText(plaintext)
}

func (s *Sealer) openV3(ctx context.Context, text string, pins []string, bound binding) ([]byte, error) {
	envelope, err := parseV3(text)
	if err != nil {
		return nil, err
	}
	key, err := s.unwrap(ctx, envelope.wrapped, pins, s.baseContext)
	if err != nil {
		return nil, err
	}
	return envelope.open(key, bound)
}

func (s *Sealer) openV2(ctx context.Context, text string, pins []string, bound binding) ([]byte, error) {
	envelope, err := parseV2(text)
	if err != nil {
		return nil, err
	}
	boundContext, err := bound.boundContext(s.base)
	if err != nil {
		return nil, err
	}
	plainContext, err := bound.plainContext(s.base)
	if err != nil {
		return nil, err
	}
	contexts := []encryptionContext{boundContext, plainContext}
	if s.binding == "off" {
		slices.Reverse(contexts)
	}
	key, at, err := s.unwrapEither(ctx, envelope.wrapped, pins, contexts)
	if err != nil {
		return nil, err
	}
	isBound := (at == 0) == (s.binding != "off")
	if !isBound && (s.binding == "require" || s.floor == "bound") {
		return nil, refused("the value is not bound to its row, and unbound values are refused")
	}
	return envelope.open(key)
}

func (s *Sealer) unwrap(
	ctx context.Context, wrapped []byte, pins []string, wrapContext encryptionContext,
) ([]byte, error) {
	return s.cache.fetch(ctx, nameOf(wrapped, pins, wrapContext), func(ctx context.Context) ([]byte, error) {
		return s.keys.unwrap(ctx, wrapped, pins, wrapContext)
	})
}

// unwrapEither unwraps under one context or the other, and says which it was.
func (s *Sealer) unwrapEither(
	ctx context.Context, wrapped []byte, pins []string, contexts []encryptionContext,
) ([]byte, int, error) {
	// Both are looked up in memory first, so that an unbound value that is read twice costs no failed call.
	for at, each := range contexts {
		if key, ok := s.cache.get(nameOf(wrapped, pins, each)); ok {
			return key, at, nil
		}
	}
	key, err := s.unwrap(ctx, wrapped, pins, contexts[0])
	if !errors.Is(err, ErrNotAuthentic) {
		return key, 0, err
	}
	key, err = s.unwrap(ctx, wrapped, pins, contexts[1])
	return key, 1, err
}

func (s *Sealer) openDirect(text string) (string, error) {
	if s.direct == nil {
		return "", refused("reading direct AES values needs ENCRYPTION_KEY")
	}
	plaintext, err := openDirect(s.direct, text)
	if err != nil {
		return "", err
	}
	return openedText(plaintext)
}

func (s *Sealer) openLegacy(ctx context.Context, text string, layout *table, column string, bound binding) (string, error) {
	if s.legacy == nil {
		return "", refused(fmt.Sprintf("the value of column %q is no envelope, and no version column says how it is stored: "+
			"pass Version, give the sealer a Legacy callback, or read through the agent", column))
	}
	cell := LegacyCell{layout.name, column, map[string]string{}, map[string]*string{}}
	for at, name := range layout.key {
		cell.Row[name] = bound.key[at].value
	}
	for at, name := range layout.owner {
		cell.Owner[name] = nil
		if value := bound.owner[at].value; value != "" {
			cell.Owner[name] = &value
		}
	}
	opened, err := s.legacy(ctx, text, cell)
	if err != nil && !errors.Is(err, ErrTokenseal) {
		// Its text may hold the value.
		return "", notAuthentic()
	}
	return opened, err
}

// nameOf covers everything that decides whether a data key may be used, so that a hit never skips a check.
func nameOf(wrapped []byte, pins []string, wrapContext encryptionContext) cacheName {
	digest := sha256.New()
	add := func(part []byte) {
		digest.Write(binary.BigEndian.AppendUint32(nil, uint32(len(part))))
		digest.Write(part)
	}
	add(wrapped)
	add(wrapContext.canonical)
	for _, pin := range pins {
		add([]byte(pin))
	}
	return cacheName(digest.Sum(nil))
}
