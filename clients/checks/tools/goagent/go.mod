module goagent

go 1.24

require tokenseal v0.0.0

replace tokenseal => ../../../go
