module tokenseal

go 1.24
