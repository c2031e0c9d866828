PRAGMA application_id = 1414222668;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
CREATE TABLE envelopes (
    version INTEGER PRIMARY KEY REFERENCES versions (id) ON DELETE CASCADE,
    envelope TEXT NOT NULL
) STRICT;
INSERT INTO "envelopes" VALUES(1,'{"v":1,"alg":"aes-256-gcm","keyId":"dk-e70bd0e7c25bd6db","iv":"/sCpMg/qhaJyM3xr","tag":"xHpJc4+l1W+i4oiHxc03qg==","ciphertext":"Gnqf3z0M6mfjUXt2O2zudWAUoF6XSw==","aad":"REFUQUJBU0VfVVJM","timestamp":1795878883000}');
INSERT INTO "envelopes" VALUES(2,'{"v":1,"alg":"aes-256-gcm","keyId":"dk-e70bd0e7c25bd6db","iv":"tK7aR0CcXtO7tXot","tag":"7zEoyq8skQEDkfeYWYRvKw==","ciphertext":"4Mx0BtE=","aad":"YXBpL2tleQ==","timestamp":1795878883000}');
INSERT INTO "envelopes" VALUES(3,'{"v":1,"alg":"aes-256-gcm","keyId":"dk-e70bd0e7c25bd6db","iv":"0XhZ3rbvFx5gvIBq","tag":"twGJEjLfwRho3f0/fjDCvw==","ciphertext":"iPiWK80W","aad":"YXBpL2tleQ==","timestamp":1795878883000}');
CREATE TABLE secrets (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created_ms INTEGER NOT NULL,
    changed_ms INTEGER NOT NULL,
    expires_ms INTEGER,
    every_ms INTEGER,
    grace_ms INTEGER
) STRICT;
INSERT INTO "secrets" VALUES(1,'DATABASE_URL',1795878883135,1795878883135,4387878883135,NULL,NULL);
INSERT INTO "secrets" VALUES(2,'api/key',1795878883144,1795878883180,NULL,NULL,NULL);
CREATE TABLE tags (
    secret INTEGER NOT NULL REFERENCES secrets (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (secret, name)
) STRICT, WITHOUT ROWID;
INSERT INTO "tags" VALUES(1,'team','red');
CREATE TABLE versions (
    id INTEGER PRIMARY KEY,
    secret INTEGER NOT NULL REFERENCES secrets (id) ON DELETE CASCADE,
    version TEXT NOT NULL,
    stage TEXT NOT NULL,
    is_binary INTEGER NOT NULL,
    key_id TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    until_ms INTEGER,
    UNIQUE (secret, stage),
    UNIQUE (secret, version)
) STRICT;
INSERT INTO "versions" VALUES(1,1,'c780a027464cee976b223c4098cfca83','AWSCURRENT',0,'dk-e70bd0e7c25bd6db',1795878883135,NULL);
INSERT INTO "versions" VALUES(2,2,'641bd7577f1634b2b1e4a7c9d1302139','AWSPREVIOUS',0,'dk-e70bd0e7c25bd6db',1795878883144,1795965283180);
INSERT INTO "versions" VALUES(3,2,'9a4dcfcde66f1ccc36dc6ae63f457724','AWSCURRENT',0,'dk-e70bd0e7c25bd6db',1795878883180,NULL);
CREATE INDEX secrets_by_expiry ON secrets (expires_ms) WHERE expires_ms IS NOT NULL;
CREATE INDEX versions_by_key ON versions (key_id, id);
CREATE INDEX versions_by_end ON versions (until_ms) WHERE until_ms IS NOT NULL;
COMMIT;
