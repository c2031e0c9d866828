// Package tokenseal opens and seals the values that Tokenseal keeps in a database, under AWS KMS or through the agent.
//
// The package needs the standard library alone. Profiles in TOML, the ChaCha20-Poly1305 suite and the AWS SDK are
// packages of their own: tokenseal/tomlprofile, tokenseal/chacha and tokenseal/awskms. Without the first two, what needs
// them is [ErrUnsupported].
package tokenseal
