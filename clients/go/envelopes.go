package tokenseal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"strings"
)

const (
	v2Mark = "kms:v2:"
	v3Mark = "kms:v3:"
	// twiceMark is how base64 of a text that begins with v2Mark begins.
	twiceMark = "a21zOnYyO"

	maxPlaintextLen = 1 << 20
	maxWrappedLen   = 6_144
	nonceLen        = 12
	tagLen          = 16
	headerLen       = 68

	suiteAES    = 0x0478
	suiteChaCha = 0xf478

	label = "tokenseal bound envelope v3\x00"
)

// newChaCha is set by the package tokenseal/chacha.
var newChaCha func(key []byte) (cipher.AEAD, error)

// RegisterChaCha20Poly1305 gives this package the suite 0xf478; importing tokenseal/chacha does that.
func RegisterChaCha20Poly1305(make func(key []byte) (cipher.AEAD, error)) { newChaCha = make }

// isEnvelope says whether a text carries a mark that no token has by accident.
func isEnvelope(text string) bool {
	return strings.HasPrefix(text, v2Mark) || strings.HasPrefix(text, v3Mark) || strings.HasPrefix(text, twiceMark)
}

type envelopeV2 struct{ wrapped, sealed []byte }

// parseV2 parses `kms:v2:<wrapped data key>:<nonce || ciphertext || tag>`, or the same in base64 once more.
func parseV2(text string) (envelopeV2, error) {
	if strings.HasPrefix(text, twiceMark) {
		inner, err := decodeBase64(base64.StdEncoding, text)
		if err != nil {
			return envelopeV2{}, err
		}
		text = string(inner)
	}
	rest, marked := strings.CutPrefix(text, v2Mark)
	first, second, parts := strings.Cut(rest, ":")
	if !marked || !parts {
		return envelopeV2{}, malformed("not a version 2 envelope")
	}
	wrapped, err := decodeBase64(base64.StdEncoding, first)
	if err != nil {
		return envelopeV2{}, err
	}
	sealed, err := decodeBase64(base64.StdEncoding, second)
	if err != nil {
		return envelopeV2{}, err
	}
	if len(wrapped) < 1 || len(wrapped) > maxWrappedLen {
		return envelopeV2{}, malformed("the wrapped data key has an impossible length")
	}
	if len(sealed) < nonceLen+tagLen {
		return envelopeV2{}, malformed("a version 2 envelope is too short")
	}
	return envelopeV2{wrapped, sealed}, nil
}

func (e envelopeV2) open(dataKey []byte) ([]byte, error) {
	aead, err := newAES(dataKey)
	if err != nil {
		return nil, err
	}
	return decrypt(aead, e.sealed[:nonceLen], e.sealed[nonceLen:], nil)
}

func sealV2(dataKey, wrapped, plaintext []byte) (string, error) {
	aead, err := newAES(dataKey)
	if err != nil {
		return "", err
	}
	nonce := make([]byte, nonceLen)
	rand.Read(nonce) // never fails (crypto/rand)
	sealed := aead.Seal(nonce, nonce, plaintext, nil)
	return v2Mark + base64.StdEncoding.EncodeToString(wrapped) + ":" + base64.StdEncoding.EncodeToString(sealed), nil
}

type envelopeV3 struct {
	suite                    uint16
	header, wrapped, payload []byte
}

// parseV3 parses the bound envelope: header, wrapped data key, payload.
func parseV3(text string) (envelopeV3, error) {
	fail := func(what string) (envelopeV3, error) { return envelopeV3{}, malformed(what) }
	rest, marked := strings.CutPrefix(text, v3Mark)
	if !marked {
		return fail("not a version 3 envelope")
	}
	data, err := decodeBase64(base64.RawURLEncoding, rest)
	if err != nil {
		return envelopeV3{}, err
	}
	if len(data) < 1 || data[0] != 3 {
		return fail("unknown envelope version")
	}
	if len(data) < headerLen+2 {
		return fail("a version 3 envelope is too short")
	}
	suite := binary.BigEndian.Uint16(data[1:])
	if suite != suiteAES && suite != suiteChaCha || data[3] != 0 {
		return fail("unknown suite or flag")
	}
	wrappedLen := int(binary.BigEndian.Uint16(data[headerLen:]))
	payloadAt := headerLen + 2 + wrappedLen + 4
	if wrappedLen < 1 || wrappedLen > maxWrappedLen || len(data) < payloadAt {
		return fail("the wrapped data key has an impossible length")
	}
	payload := data[payloadAt:]
	claimed := int64(binary.BigEndian.Uint32(data[payloadAt-4:]))
	if claimed != int64(len(payload)) || claimed < tagLen || claimed > maxPlaintextLen+tagLen {
		return fail("the payload has an impossible length")
	}
	return envelopeV3{suite, data[:headerLen], data[headerLen+2 : payloadAt-4], payload}, nil
}

func (e envelopeV3) open(dataKey []byte, cell binding) ([]byte, error) {
	contentKey, commitment, err := derive(dataKey, e.suite, e.header[4:36])
	if err != nil {
		return nil, err
	}
	// Before anything is decrypted: under a key that the value does not commit to, no plaintext is ever made.
	if subtle.ConstantTimeCompare(commitment, e.header[36:]) != 1 {
		return nil, notAuthentic()
	}
	aad, err := associatedData(e.header, cell)
	if err != nil {
		return nil, err
	}
	aead, err := newSuite(e.suite, contentKey)
	if err != nil {
		return nil, err
	}
	return decrypt(aead, zeroNonce(), e.payload, aad)
}

func sealV3(suite uint16, dataKey, wrapped []byte, cell binding, plaintext, messageID []byte) (string, error) {
	contentKey, commitment, err := derive(dataKey, suite, messageID)
	if err != nil {
		return "", err
	}
	header := append(binary.BigEndian.AppendUint16([]byte{3}, suite), 0)
	header = append(append(header, messageID...), commitment...)
	aad, err := associatedData(header, cell)
	if err != nil {
		return "", err
	}
	aead, err := newSuite(suite, contentKey)
	if err != nil {
		return "", err
	}
	payload := aead.Seal(nil, zeroNonce(), plaintext, aad)
	out := binary.BigEndian.AppendUint16(header, uint16(len(wrapped)))
	out = append(out, wrapped...)
	out = binary.BigEndian.AppendUint32(out, uint32(len(payload)))
	return v3Mark + base64.RawURLEncoding.EncodeToString(append(out, payload...)), nil
}

// openDirect opens direct AES: base64 of nonce, ciphertext and tag under the configured key.
func openDirect(key []byte, text string) ([]byte, error) {
	sealed, err := decodeBase64(base64.StdEncoding, text)
	if err != nil {
		return nil, err
	}
	if len(sealed) < nonceLen+tagLen {
		return nil, malformed("a direct AES value is too short")
	}
	return envelopeV2{sealed: sealed}.open(key)
}

// zeroNonce: a content key seals one message, so no nonce is needed to distinguish messages.
func zeroNonce() []byte { return make([]byte, nonceLen) }

func associatedData(header []byte, cell binding) ([]byte, error) {
	canonical, err := cell.canonical()
	if err != nil {
		return nil, err
	}
	return append(append([]byte(label), header...), canonical...), nil
}

func derive(dataKey []byte, suite uint16, messageID []byte) (contentKey, commitment []byte, err error) {
	info := string(binary.BigEndian.AppendUint16(nil, suite)) + "DERIVEKEY"
	if contentKey, err = hkdf.Key(sha512.New, dataKey, messageID, info, 32); err != nil {
		return nil, nil, notAuthentic()
	}
	if commitment, err = hkdf.Key(sha512.New, dataKey, messageID, "COMMITKEY", 32); err != nil {
		return nil, nil, notAuthentic()
	}
	return contentKey, commitment, nil
}

func newSuite(suite uint16, key []byte) (cipher.AEAD, error) {
	if suite == suiteAES {
		return newAES(key)
	}
	if newChaCha == nil {
		return nil, unsupported("the ChaCha20-Poly1305 suite needs the package tokenseal/chacha")
	}
	return newChaCha(key)
}

func newAES(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil || len(key) != 32 {
		return nil, notAuthentic()
	}
	return cipher.NewGCM(block)
}

func decrypt(aead cipher.AEAD, nonce, sealed, aad []byte) ([]byte, error) {
	plaintext, err := aead.Open(nil, nonce, sealed, aad)
	if err != nil {
		return nil, notAuthentic()
	}
	return plaintext, nil
}
