// Package chacha gives tokenseal the ChaCha20-Poly1305 suite: import it for its effect.
package chacha

import (
	"golang.org/x/crypto/chacha20poly1305"

	"tokenseal"
)

func init() { tokenseal.RegisterChaCha20Poly1305(chacha20poly1305.New) }
