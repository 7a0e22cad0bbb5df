"""Makes the pages of docs/protocols: facts from the protocol files, prose from `prose/`, curves by the engine."""
