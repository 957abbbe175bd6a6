// Logging in and registering.

import { html, useEffect, useState } from '../html.js';
import { lastUser, login, register, unsentCount } from '../core/account.js';
import { loginNotice } from '../core/state.js';
import { plainWords } from '../core/errors.js';
import { Field } from './parts.js';
import { Mark } from './icons.js';

const PASSWORD_CHARACTERS_MIN = 8;
const FIELD_OF = { user_exists: 'user', weak_password: 'password', bad_credentials: 'password' };

const problemsOf = ({ user, password, invite }, registering) => ({
  user: registering && user && !/^([a-z0-9][a-z0-9_.-]{2,31}|\+[1-9][0-9]{6,14})$/i.test(user)
    ? '3 to 32 letters, digits, “_”, “.” or “-”; or a phone number like +4912345678.' : '',
  password: registering && password && password.length < PASSWORD_CHARACTERS_MIN
    ? `At least ${PASSWORD_CHARACTERS_MIN} characters.` : '',
  invite,
});

export function Login() {
  const [registering, setRegistering] = useState(false);
  const [values, setValues] = useState({ user: '', name: '', password: '', invite: '' });
  const [invited, setInvited] = useState(false);
  const [trouble, setTrouble] = useState({ field: '', text: '' });
  const [busy, setBusy] = useState(false);
  const [owner, setOwner] = useState({ user: '', unsent: 0 });

  useEffect(() => {
    Promise.all([lastUser(), unsentCount()]).then(([user, unsent]) => {
      setOwner({ user, unsent });
      if (user) setValues((now) => ({ ...now, user: now.user || user }));
    }).catch((error) => setTrouble({ field: '', text: plainWords(error) }));
  }, []);

  const set = (name) => (event) => {
    setValues({ ...values, [name]: event.target.value });
    if (trouble.field === name) setTrouble({ field: '', text: '' });
  };

  const submit = async (event) => {
    event.preventDefault();
    const user = values.user.trim();
    const problems = problemsOf({ ...values, user }, registering);
    const wrong = ['user', 'password'].find((name) => problems[name]);
    if (wrong) { setTrouble({ field: wrong, text: problems[wrong] }); return; }
    if (!user || !values.password) {
      setTrouble({ field: user ? 'password' : 'user', text: user ? 'Enter your password.' : 'Enter a user name.' });
      return;
    }
    setBusy(true);
    setTrouble({ field: '', text: '' });
    try {
      if (registering) await register(user, values.password, values.name.trim(), values.invite.trim());
      await login(user, values.password);
    } catch (error) {
      if (error.code === 'forbidden' && registering) setInvited(true);
      setTrouble({ field: FIELD_OF[error.code] ?? '', text: plainWords(error) });
    } finally {
      setBusy(false);
    }
  };

  const at = (name) => (trouble.field === name ? trouble.text : '');
  const other = owner.user && values.user.trim().toLowerCase() !== owner.user;
  return html`<main class="login">
    <form class="login-card" onSubmit=${submit} novalidate>
      <${Mark} size=${72} />
      <h1>Tidings</h1>
      <p class="login-lead">${registering ? 'Choose a name that others find you by.' : 'Messages to your people, on your server.'}</p>
      ${loginNotice.value && html`<p class="notice" role="status">${loginNotice.value}</p>`}
      <${Field} label="User name or phone number" name="user" value=${values.user} onInput=${set('user')}
        trouble=${at('user')} autocomplete="username" autocapitalize="none" spellcheck="false" maxlength="32" />
      ${registering && html`<${Field} label="Your name" hint="What others see. You can change it later."
        name="name" value=${values.name} onInput=${set('name')} autocomplete="name" maxlength="64" dir="auto" />`}
      <${Field} label="Password" type="password" name="password" value=${values.password}
        onInput=${set('password')} trouble=${at('password')}
        hint=${registering ? `At least ${PASSWORD_CHARACTERS_MIN} characters; a few words are best.` : ''}
        autocomplete=${registering ? 'new-password' : 'current-password'} />
      ${registering && invited && html`<${Field} label="Invitation code of this server" name="invite"
        value=${values.invite} onInput=${set('invite')} autocomplete="off" />`}
      ${owner.unsent > 0 && other && html`<p class="notice">${owner.user} has
        ${owner.unsent === 1 ? ' a message' : ` ${owner.unsent} messages`} on this device that ${owner.unsent === 1 ? 'was' : 'were'}
        not sent. Logging in as somebody else deletes ${owner.user}’s data here.</p>`}
      ${!trouble.field && trouble.text && html`<p class="field-trouble" role="alert">${trouble.text}</p>`}
      <button type="submit" class="main-button wide" disabled=${busy}>
        ${busy ? 'One moment …' : registering ? 'Create account' : 'Log in'}</button>
      <p class="login-other">${registering ? 'You have an account?' : 'New here?'}${' '}
        <button type="button" class="text-button" onClick=${() => {
          setRegistering(!registering);
          setTrouble({ field: '', text: '' });
        }}>${registering ? 'Log in' : 'Create an account'}</button></p>
    </form>
  </main>`;
}
