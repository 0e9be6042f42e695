"""Azure Cosmos DB for NoSQL as its REST interface shows it to the SDK in gateway mode.

An HTTPS server in a process of its own (`python -m tests.fakes.cosmos PORT CERT KEY`; tests
start it with `tests.servers.azure.cosmos()`). It keeps everything in memory. Sources:
Microsoft Learn (the REST reference of Cosmos DB, "Transactional batch operations", "Change
feed", "Indexing policies", "Time to live", "Service quotas", "HTTP status codes"), and the
SDK, azure-cosmos 4.17, for what it sends.

Is here: accounts (consistency, regions, data roles, tenants; bearer tokens only), databases,
containers, items with etags and their limits, atomic batches, queries of one logical or one
physical partition in a subset of the language (sql.py), continuations, partition key ranges
and their splits, the change feed in latest version mode, time to live, session tokens.
Is not here: stored procedures, patch, merges, hierarchical keys, full-fidelity feeds,
throughput, query plans with ORDER BY or TOP, several versions of the truth (every read is
strong). What it does not know it refuses.

Nobody compared it with a live account. Assumed where the documents are silent, on the
strict side: an item with a slash, a backslash, `?` or `#` in its id that came by a batch is
401 when it is read by its id; a wrong partition key in a batch fails its operation (207),
not the request; a filter on a path without index needs the header that allows scans; NOT
before a comparison needs parentheses; a continuation is good for its query and range only.

Control plane, JSON, without sign-in (client.py has it as methods). ACCOUNT is the first part
of the path that clients connect to, `https://127.0.0.1:PORT/ACCOUNT`; `main` is the account
of the root.

    GET    /_control                          the accounts
    POST   /_control/ACCOUNT                  a new, empty account with settings
    GET    /_control/ACCOUNT                  counts, faults done, clock, containers
    POST   /_control/ACCOUNT/settings         consistency, multi_write, locations,
                                              partitions, tenant, default_role, roles,
                                              management
    POST   /_control/ACCOUNT/containers       {database, definition, partitions}
    DELETE /_control/ACCOUNT/containers       {database, container}
    POST   /_control/ACCOUNT/split            {database, container, range}
    POST   /_control/ACCOUNT/clock            {advance: seconds}
    POST   /_control/ACCOUNT/faults           {rules, seeded, silence} (faults.py)
    POST   /_control/ACCOUNT/reset            counters at zero

Kinds of requests, for counters and faults: account, database, container, pkranges, read,
create, upsert, replace, delete, patch, batch, query, plan, feed (changes), read_feed.
"""
