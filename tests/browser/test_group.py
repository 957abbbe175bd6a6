"""A group from its beginning to leaving it."""

from __future__ import annotations

from playwright.async_api import expect


async def make_group(owner, title, *others):
    """By hand, as the owner sees it."""
    page = owner.page
    await page.get_by_role("button", name="New chat").click()
    await page.get_by_role("button", name="New group").click()
    await page.get_by_label("Name of the group").fill(title)
    for other in others:
        await page.get_by_role("searchbox", name="Find people to add").fill(other.user)
        people = page.get_by_role("list", name="People")
        await people.get_by_role("button").filter(has_text=other.user).click()
    await page.get_by_role("button", name="Create").click()
    await expect(page.get_by_test_id("chat-head")).to_contain_text(title)


async def do_with_member(owner, details, other, action, answer):
    await details.get_by_role("button").filter(has_text=other.user).click()
    await owner.page.get_by_role("menuitem", name=action).click()
    await owner.dialog().get_by_role("button", name=answer, exact=True).click()
    await expect(owner.dialog()).to_have_count(0)


async def test_who_may_do_what(people):
    ann, bob, cyd = await people("Ann", "Bob", "Cyd")
    await make_group(ann, "Harbour", bob)
    await ann.sees_event("You created the group “Harbour”")
    await ann.sees_event("You added Bob")
    await bob.open_chat("Harbour")
    await bob.sees_event("Ann added you")

    # One more member.
    details = await ann.open_details()
    await details.get_by_role("button", name="Add members").click()
    search = ann.dialog().get_by_role("searchbox", name="Find people to add")
    await search.fill(cyd.user)
    await ann.dialog().get_by_role("button").filter(has_text=cyd.user).click()
    await ann.dialog().get_by_role("button", name="Add 1").click()
    await expect(ann.toast()).to_have_text("Cyd was added.")
    await cyd.open_chat("Harbour")
    await cyd.sees_event("Ann added you")

    # Only admins send; an admin does.
    await details.get_by_role("switch", name="Only admins send").check()
    await expect(bob.page.get_by_text("Only admins can send messages")).to_be_visible()
    await expect(bob.field()).to_be_hidden()
    await do_with_member(ann, details, bob, "Make admin", "Yes")
    await bob.say("Now I may")
    await cyd.sees("Now I may")
    await expect(cyd.field()).to_be_hidden()
    await details.get_by_role("switch", name="Only admins send").uncheck()
    await expect(cyd.field()).to_be_visible()

    # An admin renames; everybody sees it.
    its = await bob.open_details()
    await its.get_by_role("button", name="Change name").click()
    await bob.dialog().get_by_label("Name").fill("Pier")
    await bob.dialog().get_by_role("button", name="Save").click()
    await cyd.sees_event("Bob named the group “Pier”")
    await expect(cyd.chat_line("Pier")).to_be_visible()

    # One is removed, one leaves; the one who is left sees both.
    await do_with_member(ann, details, cyd, "Remove from group", "Remove")
    await cyd.sees_event("Ann removed you")
    await expect(cyd.page.get_by_text("no longer a member")).to_be_visible()
    await expect(cyd.field()).to_be_hidden()
    await its.get_by_role("button", name="Leave the group").click()
    await bob.dialog().get_by_role("button", name="Leave", exact=True).click()
    await ann.sees_event("Bob left")
    await expect(details.get_by_text("Group · 1 member")).to_be_visible()


async def test_a_link_invites(people, person):
    ann = (await people("Ann"))[0]
    bob = await person("Bob")
    await make_group(ann, "Walks")
    details = await ann.open_details()
    await details.get_by_role("button", name="Invite by link").click()
    await ann.dialog().get_by_role("button", name="Make a link").click()
    link = await ann.page.get_by_test_id("invite-link").inner_text()
    path = link.removeprefix(ann.url)
    # Who has the link logs in first, and is asked then.
    await bob.open(path)
    await bob.fill_login()
    await expect(bob.dialog()).to_contain_text("Join the group?")
    # Who does not want to yet follows it again.
    await bob.dialog().get_by_role("button", name="Cancel").click()
    await expect(bob.dialog()).to_have_count(0)
    await bob.page.evaluate("path => { location.href = path }", path)
    await expect(bob.dialog()).to_contain_text("Join the group?")
    await bob.dialog().get_by_role("button", name="Join", exact=True).click()
    await bob.sees_event("You joined by invitation")
    await bob.say("Hello all")
    # The link ends.
    await ann.dialog().get_by_role("button", name="End the link").click()
    await ann.sees("Hello all")
    cyd = await person("Cyd")
    cyd.allow_status(404)
    await cyd.open(path)
    await cyd.fill_login()
    await cyd.dialog().get_by_role("button", name="Join", exact=True).click()
    await expect(cyd.dialog().locator(".field-trouble")).to_be_visible()


async def test_how_far_a_message_has_come_member_by_member(people, person):
    ann, bob = await people("Ann", "Bob")
    cyd, dan = await person("Cyd"), await person("Dan")
    info = await ann.calls.create_group("Choir", [bob.user, cyd.user, dan.user])
    await cyd.log_in()
    await ann.open_chat("Choir")
    await ann.say("Tonight at eight")
    await ann.sees_state("Tonight at eight", "stored")
    await bob.open_chat("Choir")
    await bob.sees("Tonight at eight")
    await expect(cyd.chat_line("Choir")).to_contain_text("Tonight at eight")
    await ann.message_menu("Tonight at eight", "Info")
    for title, one in (("Read by", bob), ("Delivered to", cyd), ("Not delivered yet", dan)):
        members = ann.dialog().get_by_role("region", name=title).get_by_role("listitem")
        await expect(members).to_have_count(1)
        await expect(members.get_by_text(one.name, exact=True)).to_be_visible()
    # Two ticks only when all have it.
    await ann.page.keyboard.press("Escape")
    await ann.sees_state("Tonight at eight", "stored")
    await dan.log_in()
    await ann.sees_state("Tonight at eight", "delivered")
    for one in (cyd, dan):
        await one.open_chat("Choir")
    await ann.sees_state("Tonight at eight", "read")
    assert info.kind == "group"
