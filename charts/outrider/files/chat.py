"""What `helm test` runs: the operator answers, and a model, where one is named, completes a chat.

chat.py OPERATOR [MODEL URL]: addresses of the operator's Service and of the model's. Ends with 1 and one line that says
what did not answer. With the standard library alone, as any image with Python has it.
"""

import http.client
import json
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

# Helm itself waits for five minutes.
PATIENCE_S = 270
PAUSE_S = 1
ANSWER_S = 60
# A file for each key, where the model asks for one.
KEYS = Path("/etc/outrider/keys")
# Not of this moment, but of the request: to wait would not help.
REFUSED = range(400, 429)
QUESTION = "Which planet do we live on?"


def trusting() -> ssl.SSLContext:
    """Takes any certificate: a model's is for the name that its clients know, not for its Service."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def keys() -> dict[str, str]:
    """The header with the first of the API keys. The Secret's own files begin with two dots."""
    found = sorted(file for file in KEYS.glob("[!.]*") if file.is_file()) if KEYS.is_dir() else []
    return {"Authorization": f"Bearer {found[0].read_text(encoding='utf-8').strip()}"} if found else {}


def ask(url: str, body: dict[str, object] | None = None) -> bytes:
    """The answer, asked for until there is one. Ends the test where there is none in time, or where it is refused."""
    data = None if body is None else json.dumps(body).encode()
    headers = {} if data is None else {"Content-Type": "application/json", **keys()}
    request = urllib.request.Request(url, data, headers)
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_S, context=trusting()) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            problem = f"{error}: {error.read().decode(errors='replace')[:500]}"
            if error.code in REFUSED:
                sys.exit(f"{url}: {problem}")
        except (OSError, http.client.HTTPException) as error:
            problem = str(error)
        if time.monotonic() > end:
            sys.exit(f"{url}: no answer in {PATIENCE_S} s: {problem}")
        time.sleep(PAUSE_S)


def chat(model: str, url: str) -> str:
    """What the model says. Ends the test where it says nothing."""
    messages = [{"role": "user", "content": QUESTION}]
    body: dict[str, object] = {"model": model, "messages": messages, "max_tokens": 16, "temperature": 0}
    completion = json.loads(ask(f"{url}/v1/chat/completions", body))
    text: str = completion["choices"][0]["message"]["content"]
    if not text.strip() or not completion["usage"]["completion_tokens"]:
        sys.exit(f"{model}: an empty answer: {completion}")
    return text


def main(operator: str, *model_and_url: str) -> None:
    ask(f"{operator}/readyz")
    print("the operator answers")
    if model_and_url:
        model, url = model_and_url
        print(f"{model} was asked: {QUESTION}\nand says: {chat(model, url)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
