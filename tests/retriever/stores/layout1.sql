-- A record as release 0.1.0 left it: the documents a and d in default, c in the second collection of other.
BEGIN TRANSACTION;
CREATE TABLE checkpoints (
    collection INTEGER PRIMARY KEY,
    version TEXT NOT NULL,
    generation INTEGER NOT NULL
);
INSERT INTO "checkpoints" VALUES(1,'tantivy-0.27.0-1',4);
INSERT INTO "checkpoints" VALUES(2,'tantivy-0.27.0-1',1);
CREATE TABLE collections (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    dimensions INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    UNIQUE (tenant, name)
);
INSERT INTO "collections" VALUES(1,'default','default','words-16',16,4);
INSERT INTO "collections" VALUES(2,'other','second','words-16',16,1);
CREATE TABLE documents (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    collection INTEGER NOT NULL REFERENCES collections (id),
    name TEXT NOT NULL,
    generation INTEGER NOT NULL,
    first_row INTEGER NOT NULL,
    passages INTEGER NOT NULL,
    title TEXT NOT NULL,
    content_hash TEXT NOT NULL,
    media_type TEXT NOT NULL,
    uri TEXT NOT NULL,
    metadata TEXT NOT NULL,
    died INTEGER  -- the first generation without it; its rows stay while a reader may be at an older one
);
INSERT INTO "documents" VALUES(1,1,'a',1,1,2,'T','349cbedf23247ed64f6d1873f460e4f5d793e960d6518810bc19245b742c0a19','text/plain','file:///a','{}',NULL);
INSERT INTO "documents" VALUES(3,2,'c',1,4,1,'','0e0c34d5bc9a9a9f1175826ddbb74310b695528486a3e103c19637f5ee389f7d','text/plain','file:///c','{}',NULL);
INSERT INTO "documents" VALUES(4,1,'d',4,5,1,'','cc88236a13bf6545d3439ead323d36d495c9ef04c80206dbe7ec6109ba5f5fe9','text/plain','file:///d','{}',NULL);
CREATE TABLE passages (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    document INTEGER NOT NULL REFERENCES documents (id),
    ordinal INTEGER NOT NULL,
    section TEXT NOT NULL,
    text TEXT NOT NULL,
    begins INTEGER NOT NULL,
    ends INTEGER NOT NULL,
    page INTEGER NOT NULL,
    source TEXT NOT NULL,
    offsets BLOB NOT NULL,
    page_starts BLOB NOT NULL
);
INSERT INTO "passages" VALUES(1,1,0,'','passage one of a',0,16,0,'',X'',X'');
INSERT INTO "passages" VALUES(2,1,1,'','passage two of a',17,33,0,'',X'',X'');
INSERT INTO "passages" VALUES(4,3,0,'','passage one of c',0,16,0,'',X'',X'');
INSERT INTO "passages" VALUES(5,4,0,'','passage one of d',0,16,0,'',X'',X'');
CREATE TABLE sources (
    document INTEGER PRIMARY KEY,
    source TEXT NOT NULL
);
INSERT INTO "sources" VALUES(1,'passage one of a
passage two of a');
INSERT INTO "sources" VALUES(3,'passage one of c');
INSERT INTO "sources" VALUES(4,'passage one of d');
CREATE TABLE vectors (
    row INTEGER PRIMARY KEY,
    collection INTEGER NOT NULL,
    vector BLOB NOT NULL,
    token_ids BLOB NOT NULL
);
INSERT INTO "vectors" VALUES(1,1,X'945F00BEB3C43FBC7AA5B8BB86E2813DBD2658BEE58C5EBE8F955FBDAC15B73D0CEC0B3EE8A7113F3BBA913D4FDB0F3E055ECBBE5E4C7B3EEBCBDD3E237FA53E',X'283900000886000076920000CA970000');
INSERT INTO "vectors" VALUES(2,1,X'E6E8483EBDA1B83E0A10D0BE314589BDD5AB69BD60480BBE85C80C3F8BC66DBEC861813DEDC8C8BD9010153DBA9A57BE981194BDE89F8F3D3B6C903E8FF4BBBE',X'2839000008860000CA9700003FC40000');
INSERT INTO "vectors" VALUES(4,2,X'0F233FBE1B1C5A3D8652E8BE4BB3823E259B313D276F993E2D5E2DBE4BC1363E4B9F8BBE39B3BA3DBDE6C63D88535BBEE4A7E63DAF2F0FBF27CD33BE7D8E583E',X'283900002E7D00000886000076920000');
INSERT INTO "vectors" VALUES(5,1,X'E68C19BFE9966B3B63DE0F3E88F43B3E4250EF3D5BEDC13EAE72163E7284613D80A636BDC945CCBD27CE3E3E775BA53D300AAF3E17083B3E8D7AE43E12F64C3D',X'28390000088600007692000018AC0000');
CREATE UNIQUE INDEX documents_by_name ON documents (collection, name) WHERE died IS NULL;
CREATE INDEX documents_by_generation ON documents (collection, generation);
CREATE INDEX documents_by_death ON documents (collection, died) WHERE died IS NOT NULL;
CREATE INDEX vectors_by_collection ON vectors (collection);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('collections',2);
INSERT INTO "sqlite_sequence" VALUES('documents',4);
INSERT INTO "sqlite_sequence" VALUES('passages',5);
COMMIT;
PRAGMA user_version = 1;