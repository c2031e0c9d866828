module tokenseal/tomlprofile

go 1.24

require (
	tokenseal v0.0.0
	github.com/BurntSushi/toml v1.2.0
)

replace tokenseal => ../
