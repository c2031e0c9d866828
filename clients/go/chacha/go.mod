module tokenseal/chacha

go 1.24

require (
	tokenseal v0.0.0
	golang.org/x/crypto v0.4.0
)

replace tokenseal => ../
