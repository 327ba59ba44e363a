"""The console over HTTP: visits in, pages out; cookies, tokens, headers, errors and templates are dealt with here."""
