import imaplib, os, poplib, smtplib, sys, threading, time

NAME, PASSWORD = os.environ["NAME"], os.environ["PASSWORD"]
LARGE = b"Subject: large\r\n\r\n" + b"".join(b"%07d " % n + b"y" * 60 + b"\r\n" for n in range(60000))


def port(door):
    return int(os.environ[door])


def ok(answer):
    assert answer[0] == "OK", answer
    return answer[1]


def imap():
    session = imaplib.IMAP4("127.0.0.1", port("IMAP"))
    ok(session.login(NAME, PASSWORD))
    return session


def smtp(password=PASSWORD):
    session = smtplib.SMTP("127.0.0.1", port("SMTP"))
    session.login(NAME, password)
    return session


def send(session, subject, to=NAME, text=b"hello\r\n"):
    assert session.sendmail(NAME, [to], b"Subject: " + subject.encode() + b"\r\n\r\n" + text) == {}


def fetched(session, what="1:*"):
    rows = ok(session.uid("FETCH", what, "(UID BODY.PEEK[])"))
    return [(row[0].split(b"UID ")[1].split()[0], row[1]) for row in rows if isinstance(row, tuple)]


def step(word):
    """Tells the test where we are, and waits until it has done its part."""
    print(word, flush=True)
    assert sys.stdin.readline(), "the test went away"


def work():
    session = smtp()
    send(session, "small")
    assert session.sendmail(NAME, [NAME], LARGE) == {}
    try:
        session.sendmail(NAME, ["nobody-there@pa.example"], b"Subject: x\r\n\r\n")
        raise SystemExit("a name that is not there was taken")
    except smtplib.SMTPRecipientsRefused as refused:
        assert refused.recipients["nobody-there@pa.example"][0] == 550, refused
    session.quit()
    box = imap()
    deadline = time.time() + 60
    while ok(box.select("INBOX")) != [b"2"]:
        assert time.time() < deadline, "two messages"
        time.sleep(0.05)
    mails = fetched(box)
    assert mails[1][1].endswith(LARGE) and mails[1][1].startswith(b"Received: "), mails[1][1][:300]
    ok(box.create("Archive"))
    ok(box.append("Archive", r"(\Seen)", None, b"Subject: put there\r\n\r\ntext\r\n"))
    ok(box.append("Archive", None, None, LARGE))
    ok(box.uid("MOVE", mails[0][0], "Archive"))
    assert ok(box.select("Archive")) == [b"3"]
    archived = [body for _, body in fetched(box)]
    assert archived[1] == LARGE and archived[2] == mails[0][1], [len(body) for body in archived]
    assert ok(box.search(None, "SUBJECT", "put")) == [b"1"]
    ok(box.store("1", "+FLAGS", r"(\Deleted)"))
    ok(box.expunge())
    # A range of a message, from its middle.
    rows = ok(box.fetch("1", "(BODY.PEEK[]<100000.50>)"))
    assert rows[0][1] == LARGE[100000:100050], rows
    box.logout()
    pop = poplib.POP3("127.0.0.1", port("POP3"))
    pop.user(NAME)
    pop.pass_(PASSWORD)
    assert pop.stat()[0] == 1
    assert b"\r\n".join(pop.retr(1)[1]).endswith(LARGE.rstrip())
    pop.dele(1)
    pop.quit()


def no_wrong_password():
    try:
        smtp("wrong password")
        raise SystemExit("SMTP let in")
    except smtplib.SMTPAuthenticationError as error:
        assert error.smtp_code == 535, error
    session = smtplib.SMTP("127.0.0.1", port("SMTP"))
    session.ehlo()
    assert session.docmd("MAIL FROM:<%s>" % NAME)[0] == 530, "without a login nothing is taken"
    box = imaplib.IMAP4("127.0.0.1", port("IMAP"))
    assert "STARTTLS" not in box.capabilities and "LOGINDISABLED" not in box.capabilities
    try:
        box.login(NAME, "wrong password")
        raise SystemExit("IMAP let in")
    except imaplib.IMAP4.error as error:
        words = str(error)
        assert "AUTHENTICATIONFAILED" in words or "UNAVAILABLE" in words, error
    try:
        box.select("INBOX")
        raise SystemExit("IMAP showed a mailbox")
    except imaplib.IMAP4.error:
        pass
    pop = poplib.POP3("127.0.0.1", port("POP3"))
    pop.user(NAME)
    try:
        pop.pass_("wrong password")
        raise SystemExit("POP3 let in")
    except poplib.error_proto:
        pass


def living():
    """Sessions that stay open while each server is killed in turn: nothing is noticed."""
    sender, box = smtp(), imap()
    assert sender.sendmail(NAME, [NAME], LARGE) == {}
    deadline = time.time() + 60
    while ok(box.select("INBOX")) != [b"1"]:
        assert time.time() < deadline, "a message"
        time.sleep(0.05)
    first, validity = fetched(box), box.response("UIDVALIDITY")[1]
    count = 1
    for server in ["first", "second"]:
        # Half a FETCH, and then the kill: the rest comes from the other one.
        box.send(b"half UID FETCH %s BODY.PEEK[]\r\n" % first[0][0])
        head = box.readline()
        size = int(head.split(b"{")[1].split(b"}")[0])
        begun = box.read(100000)
        step("half of a message, kill the " + server)
        rest = box.read(size - len(begun))
        assert begun + rest == first[0][1], "byte for byte"
        while not box.readline().startswith(b"half OK"):
            pass
        send(sender, "while the %s is down" % server)
        count += 1
        deadline = time.time() + 60
        while ok(box.select("INBOX")) != [b"%d" % count]:
            assert time.time() < deadline, "what was sent meanwhile"
            time.sleep(0.05)
        mails = fetched(box)
        assert mails[0] == first[0] and box.response("UIDVALIDITY")[1] == validity
        ok(box.uid("STORE", mails[-1][0], "+FLAGS", r"(\Flagged)"))
        ok(box.append("INBOX", None, None, b"Subject: put there\r\n\r\n"))
        count += 1
        # News are heard over the other server.
        box.send(b"idle IDLE\r\n")
        while not box.readline().startswith(b"+"):
            pass
        threading.Timer(0.5, lambda: send(sender, "for the one who waits")).start()
        count += 1
        box.sock.settimeout(60)
        while b"%d EXISTS" % count not in box.readline():
            pass
        box.send(b"DONE\r\n")
        while not box.readline().startswith(b"idle OK"):
            pass
        step("bring back the " + server)
    box.logout()
    sender.quit()


def away():
    """No server can be reached: sending works, and says so; a mailbox says that it can't be had."""
    no_wrong_password()
    session = smtp()
    for subject in os.environ["SUBJECTS"].split():
        text = LARGE if subject == "large" else b"hello\r\n"
        send(session, subject, os.environ.get("TO", NAME), text)
    box = imaplib.IMAP4("127.0.0.1", port("IMAP"))
    try:
        box.login(NAME, PASSWORD)
        raise SystemExit("a mailbox without a server")
    except imaplib.IMAP4.error as error:
        assert "UNAVAILABLE" in str(error), error


def away_or_not():
    """Sending works, whether or not a server answers."""
    session = smtp()
    for subject in os.environ["SUBJECTS"].split():
        send(session, subject)


def flow():
    """Sends, and says each message that was taken, until the test has heard enough."""
    enough = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), enough.set()), daemon=True).start()
    session, number = smtp(), 0
    while not enough.is_set():
        send(session, "m%06d" % number)
        print("m%06d" % number, flush=True)
        number += 1
        time.sleep(0.02)


def log_in():
    smtp().quit()


def full():
    session = smtp()
    for subject in ["one", "two"]:
        send(session, subject)
    try:
        send(session, "three")
        raise SystemExit("a full outbox took one more")
    except smtplib.SMTPDataError as error:
        assert error.smtp_code == 451 and b"outbox of this machine is full" in error.smtp_error, error


def alias():
    session = smtp()
    try:
        session.sendmail("needham@pa.example", [NAME], b"Subject: x\r\n\r\n")
        raise SystemExit("somebody else's address was taken")
    except smtplib.SMTPSenderRefused as error:
        assert error.smtp_code in (451, 550, 553), error


def subjects():
    """All messages of INBOX, by what they are about."""
    box = imap()
    ok(box.select("INBOX", readonly=True))
    rows = ok(box.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")) if box.untagged_responses.get("EXISTS") != [b"0"] else []
    for row in rows:
        if isinstance(row, tuple):
            print(row[1].decode().strip().removeprefix("Subject: "))
    box.logout()


globals()[sys.argv[1]]()
