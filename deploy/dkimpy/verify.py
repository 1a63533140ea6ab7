"""Verifies every DKIM signature of the mails on standard input, with the DNS answers that come with them.

In: {"records": {"selector._domainkey.domain": "v=DKIM1; ..."}, "mails": ["base64", ...]}
Out: for each mail, for each of its signatures from the top: [algorithm, whether it holds]
"""

import base64
import json
import sys

import dkim
from dkim.util import parse_tag_value


def main():
    given = json.load(sys.stdin)
    records = {name.rstrip(".").encode(): text.encode() for name, text in given["records"].items()}

    def answer(name, timeout=5):
        return records.get(name.rstrip(b"."))

    def verdicts(mail):
        verifier = dkim.DKIM(mail)
        signatures = [value for name, value in verifier.headers if name.lower() == b"dkim-signature"]
        for index, value in enumerate(signatures):
            algorithm = parse_tag_value(value)[b"a"].decode()
            try:
                holds = dkim.DKIM(mail).verify(idx=index, dnsfunc=answer)
            except dkim.DKIMException as error:
                holds = str(error)
            yield [algorithm, holds]

    json.dump([list(verdicts(base64.b64decode(mail))) for mail in given["mails"]], sys.stdout)


main()
