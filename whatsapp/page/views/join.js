// An invitation's link: #join=CODE. Asks before joining; kept through a login.

import { html, useEffect } from '../html.js';
import { at, post } from '../core/rest.js';
import { chatPath, replace, route } from '../core/route.js';
import { takeInfos } from '../core/chats.js';
import { confirm } from './dialogs.js';

export function Join() {
  const { join } = route.value;
  useEffect(() => {
    if (!join) return;
    replace('/');
    confirm({
      title: 'Join the group?',
      text: 'You were given an invitation. Its members will see your name, and what is said from now on you will see.',
      action: 'Join',
      danger: false,
      act: async () => {
        const info = await post(at`/v1/join/${join}`);
        await takeInfos([info]);
        replace(chatPath(info.chat));
      },
    });
  }, [join]);
  return html``;
}
