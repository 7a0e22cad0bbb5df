-- Who may log in. Passwords are argon2id hashes; a session is known to the database by the hash of its token.

create table scad.account (
    login          text primary key check (login = lower(login) and login <> ''),
    display_name   text not null,
    password_hash  text not null check (password_hash like '$argon2id$%'),
    role           text not null
                   check (role in ('nurse', 'physician', 'administrator', 'engineer', 'auditor')),
    care_team      text references scad.care_team,   -- null: sees no patient (engineer) or all teams (auditor)
    language       text not null default 'fr' check (language in ('fr', 'en')),
    created_at     timestamptz not null,
    disabled_at    timestamptz,
    failed_logins  integer not null default 0,
    locked_until   timestamptz,
    check (care_team is not null or role not in ('nurse', 'physician'))
);

create table scad.session (
    token_hash    bytea primary key check (length(token_hash) = 32),   -- SHA-256 of the cookie's random token
    login         text not null references scad.account on delete cascade,
    csrf_token    text not null,
    created_at    timestamptz not null,
    last_seen_at  timestamptz not null,
    expires_at    timestamptz not null,
    check (expires_at > created_at)
);
create index session_login on scad.session (login);
create index session_expires_at on scad.session (expires_at);
