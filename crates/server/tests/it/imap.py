import imaplib, os, re, smtplib, socket, ssl, sys, time

context = ssl.create_default_context(cafile=os.environ["CA"])
NAME, PASSWORD = os.environ["NAME"], os.environ["PASSWORD"]


def ok(answer):
    assert answer[0] == "OK", answer
    return answer[1]


def log_in():
    imap = imaplib.IMAP4_SSL("localhost", int(os.environ["IMAPS"]), ssl_context=context)
    ok(imap.login(NAME, PASSWORD))
    return imap


def no_password_in_clear():
    imap = imaplib.IMAP4("localhost", int(os.environ["IMAP"]))
    assert "LOGINDISABLED" in imap.capabilities and "STARTTLS" in imap.capabilities
    try:
        imap.login(NAME, PASSWORD)
        raise SystemExit("a password was taken in clear")
    except imaplib.IMAP4.error as error:
        assert "PRIVACYREQUIRED" in str(error), error
    imap = imaplib.IMAP4("localhost", int(os.environ["IMAP"]))
    ok(imap.starttls(ssl_context=context))
    try:
        imap.login(NAME, "wrong")
        raise SystemExit("a wrong password was taken")
    except imaplib.IMAP4.error as error:
        assert "AUTHENTICATIONFAILED" in str(error), error
    ok(imap.authenticate("PLAIN", lambda _: b"\0" + NAME.encode() + b"\0" + PASSWORD.encode()))
    ok(imap.logout()) if False else imap.logout()


def message(subject, text="hello"):
    return f"From: a@b.example\r\nSubject: {subject}\r\nMessage-ID: <{subject}@b>\r\n\r\n{text}\r\n".encode()


def look(imap=None):
    """All folders, and in each every message: UIDs, flags, subjects."""
    imap = imap or log_in()
    for line in sorted(ok(imap.list())):
        name = line.decode().rsplit('"/" ', 1)[1]
        count = int(ok(imap.select(name, readonly=True))[0])
        validity = imap.response("UIDVALIDITY")[1][0].decode()
        print(name, validity)
        if count:
            rows = ok(imap.uid("FETCH", "1:*", "(UID FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])"))
            for row in rows:
                if isinstance(row, tuple):
                    uid = re.search(rb"UID (\d+)", row[0]).group(1).decode()
                    flags = sorted(re.search(rb"FLAGS \(([^)]*)\)", row[0]).group(1).decode().split())
                    print(name, uid, flags, row[1].decode().strip())
    imap.logout()


def work():
    imap = log_in()
    able = ok(imap.capability())[0]
    assert b" IDLE " in able and b" MOVE " in able and b" QRESYNC " in able, able
    ok(imap.create("Archive"))
    ok(imap.subscribe("Archive"))
    assert any(b"Archive" in line for line in ok(imap.lsub())), "subscribed"
    for subject in ["kept", "moved", "gone"]:
        ok(imap.append("INBOX", r"(\Seen)", None, message(subject)))
    large = message("large", "x" * 70 + "\r\n" + ("y" * 70 + "\r\n") * 40000)
    ok(imap.append("INBOX", None, '"17-Jul-1996 02:44:25 -0700"', large))
    assert imap.append("nowhere", None, None, message("x"))[0] == "NO"
    assert ok(imap.select("INBOX")) == [b"4"]
    data = ok(imap.fetch("4", "(RFC822.SIZE INTERNALDATE BODY[])"))
    assert data[0][1] == large, "a large message comes back as it was"
    assert b'"17-Jul-1996 09:44:25 +0000"' in data[0][0], data[0][0]
    assert ok(imap.search(None, "SUBJECT", "moved")) == [b"2"]
    assert ok(imap.search(None, "TEXT", "yyyy")) == [b"4"]
    assert ok(imap.sort("(REVERSE SIZE)", "UTF-8", "ALL"))[0].startswith(b"4 ")
    ok(imap.store("1", "+FLAGS", r"(\Flagged $Work)"))
    ok(imap.copy("1", "Archive"))
    ok(imap._simple_command("MOVE", "2", "Archive"))
    ok(imap.store("2", "+FLAGS", r"(\Deleted)"))
    ok(imap.expunge())
    assert ok(imap.search(None, "ALL")) == [b"1 2"]
    structure = ok(imap.fetch("1", "(ENVELOPE BODYSTRUCTURE)"))[0]
    assert b'"kept"' in structure and b'"TEXT" "PLAIN"' in structure, structure
    ok(imap.rename("Archive", "Old/Archive"))
    ok(imap.rename("Old/Archive", "Archive"))
    look(imap)


def fill():
    imap = log_in()
    begun = time.monotonic_ns()
    for n in range(20):
        ok(imap.append("INBOX", None, None, message(f"{begun}-{n}")))
    ok(imap.select("INBOX"))
    ok(imap.store("1:3", "+FLAGS", r"(\Seen)"))
    imap.close()
    look(imap)


def idle():
    imap = log_in()
    had = int(ok(imap.select("INBOX"))[0])
    imap.send(b"i1 IDLE\r\n")
    assert imap.readline().startswith(b"+"), "idle"
    smtp = smtplib.SMTP_SSL("localhost", int(os.environ["OTHER"]), context=context)
    smtp.login(NAME, PASSWORD)
    smtp.sendmail(NAME, [NAME], message("news"))
    begun = time.monotonic()
    smtp.quit()
    imap.sock.settimeout(60)
    while True:
        line = imap.readline()
        assert line, "the connection ended"
        if line.strip() == b"* %d EXISTS" % (had + 1):
            break
    print("heard after", round(time.monotonic() - begun, 3))
    imap.send(b"DONE\r\n")


globals()[sys.argv[1]]()
