-- A record as release 0.1.0 left it: the documents a and d in default, c in the second collection of other; the test adds their vectors.
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
INSERT INTO "documents" VALUES(1,1,'a',1,1,2,'T','hash','text/plain','file:///a','{}',NULL);
INSERT INTO "documents" VALUES(3,2,'c',1,4,1,'','hash','text/plain','file:///c','{}',NULL);
INSERT INTO "documents" VALUES(4,1,'d',4,5,1,'','hash','text/plain','file:///d','{}',NULL);
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
